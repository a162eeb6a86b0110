//! What the tests of the whole share.

pub mod mutants;
pub mod corpus;
pub mod checked;
pub mod follow;
pub mod kernel;
pub mod places;
pub mod text;
pub mod types;
pub mod filetest;
pub mod torture;

/// The examples of the pages that newcomers read, compiled so that they stay true.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/howto/embed.md")]
    struct Embed;
    #[doc = include_str!("../../docs/howto/extensions.md")]
    struct Extensions;
    #[doc = include_str!("../../docs/howto/snapshot-a-log.md")]
    struct SnapshotALog;
}
