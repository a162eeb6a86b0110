//! The grammar of a context table: which bytes a program may touch, and what they yield.
