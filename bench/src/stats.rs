//! Medians, least values and geometric means.

/// Times of one contender, one a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// Adds a round.
    pub(crate) fn push(&mut self, nanoseconds: f64) {
        self.0.push(nanoseconds);
    }

    /// How many rounds there were.
    #[cfg(feature = "engines")]
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// What one round took.
    #[cfg(feature = "engines")]
    pub(crate) fn get(&self, round: usize) -> Option<f64> {
        self.0.get(round).copied()
    }

    /// The median, or nothing if there was no round.
    pub(crate) fn median(&self) -> Option<f64> {
        median(self.0.clone())
    }

    /// The median of what each round took in proportion to the same round of another.
    ///
    /// Rounds are taken in turns, so what disturbs the machine disturbs both.
    pub(crate) fn ratio_to(&self, other: &Self) -> Option<f64> {
        median(self.0.iter().zip(&other.0).map(|(ours, theirs)| ours / theirs).collect())
    }

    /// The least of the times.
    #[cfg(any(feature = "engines", test))]
    pub(crate) fn least(&self) -> Option<f64> {
        self.0.iter().copied().reduce(f64::min)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The geometric mean, or nothing of nothing.
pub(crate) fn geometric_mean(values: &[f64]) -> Option<f64> {
    let count = values.iter().fold(0.0, |count, _| count + 1.0);
    let sum: f64 = values.iter().map(|value| value.ln()).sum();
    (!values.is_empty()).then(|| (sum / count).exp())
}

/// A number for a table, or a dash.
pub(crate) fn cell(value: Option<f64>, width: usize, digits: usize) -> String {
    value.map_or_else(|| format!("{:>width$}", "-"), |value| format!("{value:>width$.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(values: &[f64]) -> Times {
        Times(values.to_vec())
    }

    #[test]
    fn a_disturbed_round_does_not_count() {
        let (ours, theirs) = (times(&[1.0, 900.0, 1.0]), times(&[2.0, 1800.0, 2.0]));
        assert_eq!(ours.median(), Some(1.0));
        assert_eq!(ours.ratio_to(&theirs), Some(0.5));
        assert_eq!(theirs.least(), Some(2.0));
    }

    #[test]
    fn the_mean_of_a_half_and_a_double_is_one() {
        let mean = geometric_mean(&[0.5, 2.0]);
        assert!(mean.is_some_and(|mean| (mean - 1.0).abs() < 1e-9));
        assert_eq!(geometric_mean(&[]), None);
    }
}
