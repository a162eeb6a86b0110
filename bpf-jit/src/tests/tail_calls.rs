//! Tail calls.
