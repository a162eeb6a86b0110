//! What the tests of the whole share.

pub mod mutants;
pub mod corpus;
pub mod checked;
pub mod kernel;
pub mod places;
pub mod text;
pub mod filetest;
