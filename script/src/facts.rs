//! What a kernel did with the cases of a folder.

use std::path::Path;

use serde_json::Value;

/// A file of facts: for each case, what came of each step.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    root: Value,
}

impl Facts {
    /// Reads `facts.json` of a folder; empty if there is none.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, or is not what it should be.
    pub fn of_folder(folder: &Path) -> std::io::Result<Self> {
        let path = folder.join("facts.json");
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(path)?;
        Ok(Self { root: serde_json::from_str(&text)? })
    }

    /// What came of the steps of a case, in order; `None` if nothing is known of it.
    pub fn steps(&self, case: &str) -> Option<&[Value]> {
        self.root.get("cases")?.get(case)?.get("steps")?.as_array().map(Vec::as_slice)
    }
}

/// Whether the kernel was not asked to the end: it fell over.
pub(crate) fn is_incomplete(step: &Value) -> bool {
    step.get("incomplete").is_some()
}
