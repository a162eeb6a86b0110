//! Programs that are changed at full speed while threads run them.

mod replace;
pub mod chains;

pub use replace::{Report, replace};

/// An error with its causes.
fn text(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
