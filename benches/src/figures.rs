//! Figures: samples with their median, a goal, and how they are printed for people and for scripts.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// How a benchmark ends: with a line for each figure, or with what went wrong.
pub fn report(figures: Result<Vec<Figure>, Box<dyn Error>>) -> ExitCode {
    match figures {
        Ok(figures) => {
            println!();
            figures.iter().for_each(|figure| println!("{figure}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Samples of one quantity.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a sample.
    pub fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The median; of an even number, the mean of the middle two. `None` of no samples.
    pub fn median(&self) -> Option<f64> {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            count if count % 2 == 1 => Some(sorted[middle]),
            _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
        }
    }

    /// The median of all, each divided by the one of the same round in `other`.
    pub fn ratio(&self, other: &Samples) -> Option<f64> {
        let ratios = self.0.iter().zip(&other.0).filter(|(_, others)| **others > 0.0);
        ratios.map(|(own, others)| own / others).collect::<Samples>().median()
    }

    /// Each sample less the one of the same round in `other`: what drifts from round to round falls out.
    pub fn differences(&self, other: &Samples) -> Samples {
        self.0.iter().zip(&other.0).map(|(own, others)| own - others).collect()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        Samples(samples.into_iter().collect())
    }
}

/// Minimum, median and maximum.
impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = self.sorted();
        match (sorted.first(), self.median(), sorted.last()) {
            (Some(least), Some(median), Some(most)) => {
                write!(f, "{} / {} / {}", Short(*least), Short(median), Short(*most))
            }
            _ => f.write_str("no samples"),
        }
    }
}

/// A number with about three significant digits.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.abs() {
            size if size >= 100.0 => write!(f, "{:.0}", self.0),
            size if size >= 10.0 => write!(f, "{:.1}", self.0),
            size if size >= 1.0 => write!(f, "{:.2}", self.0),
            _ => write!(f, "{:.3}", self.0),
        }
    }
}

/// A result that has a goal.
#[derive(Clone, Debug)]
pub struct Figure {
    /// A word without spaces, for scripts.
    pub name: String,
    /// The result, `None` when it could not be measured.
    pub value: Option<f64>,
    /// What it is to be.
    pub goal: Goal,
}

/// What a result is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// So much or less.
    AtMost(f64),
    /// So much or more.
    AtLeast(f64),
}

impl Figure {
    /// A result of which less is better.
    pub fn at_most(name: &str, value: Option<f64>, goal: f64) -> Self {
        Figure { name: name.to_owned(), value, goal: Goal::AtMost(goal) }
    }

    /// A result of which more is better.
    pub fn at_least(name: &str, value: Option<f64>, goal: f64) -> Self {
        Figure { name: name.to_owned(), value, goal: Goal::AtLeast(goal) }
    }

    /// Whether the goal is met.
    pub fn met(&self) -> bool {
        self.value.is_some_and(|value| match self.goal {
            Goal::AtMost(goal) => value <= goal,
            Goal::AtLeast(goal) => value >= goal,
        })
    }
}

/// `figure NAME VALUE GOAL met|short`
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.met() { "met" } else { "short" };
        let (Goal::AtMost(goal) | Goal::AtLeast(goal)) = self.goal;
        match self.value {
            Some(value) => write!(f, "figure {} {} {} {verdict}", self.name, Short(value), Short(goal)),
            None => write!(f, "figure {} not-measured {} {verdict}", self.name, Short(goal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_no_samples() {
        assert_eq!(Samples::from_iter([3.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(Samples::from_iter([4.0, 1.0, 2.0, 3.0]).median(), Some(2.5));
        assert_eq!(Samples::default().median(), None);
        assert_eq!(Samples::from_iter([0.5, 12.0, 400.0]).to_string(), "0.500 / 12.0 / 400");
        let (slow, fast) = (Samples::from_iter([11.0, 103.0, 52.0]), Samples::from_iter([10.0, 100.0, 50.0]));
        assert_eq!(slow.differences(&fast).median(), Some(2.0));
    }

    #[test]
    fn a_figure_is_short_beyond_its_goal_and_when_it_is_missing() {
        let figure = |value| Figure::at_most("size", value, 64.0);
        assert_eq!(Figure::at_least("rate", Some(1.0), 1.2).to_string(), "figure rate 1.00 1.20 short");
        assert_eq!(Figure::at_least("rate", Some(1.2), 1.2).to_string(), "figure rate 1.20 1.20 met");
        assert_eq!(figure(Some(64.0)).to_string(), "figure size 64.0 64.0 met");
        assert_eq!(figure(Some(64.1)).to_string(), "figure size 64.1 64.0 short");
        assert_eq!(figure(None).to_string(), "figure size not-measured 64.0 short");
    }
}
