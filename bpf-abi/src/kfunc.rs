//! Kernel functions: flags and what they promise.
