//! What we want to reach, row by row, and what was reached before. A run's figures become ratios of the same run; those are
//! held against the aims in a table, and against recorded ones by `check`: times and rates of two runs are never compared.

mod list;
mod recorded;

use std::fmt::Write;

pub use recorded::{check, record};

use headland_report::{Report, median, short, spread};

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Target {
    /// What recorded ratios know it by.
    id: &'static str,
    what: &'static str,
    unit: &'static str,
    figure: Figure,
    aim: Aim,
    /// How much worse than recorded a ratio may be, as a share of it.
    tolerance: f64,
}

/// How a target's figure comes out of a report.
#[derive(Clone, Debug)]
enum Figure {
    /// A row over another of the same run, times a factor, round by round.
    Ratio { of: At, over: Vec<At>, factor: f64 },
    /// A row as it is; what is recorded is its ratio to a floor of the same run, if it depends on the machine's speed.
    Plain { of: At, floor: Option<At> },
    /// A row minus another.
    Difference { of: At, from: At, floor: At },
}

/// A section's title and a row's name.
type At = (String, &'static str);

/// Where a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

impl Aim {
    fn met(self, value: f64) -> bool {
        match self {
            Aim::AtLeast(aim) => value >= aim,
            Aim::AtMost(aim) => value <= aim,
        }
    }
}

impl Figure {
    /// As the table shows it, one a round.
    fn shown(&self, report: &Report) -> Option<Vec<f64>> {
        match self {
            Figure::Ratio { of, over, factor } => {
                Some(ratios(at(report, of)?, &best(report, over)?).map(|ratio| ratio * factor).collect())
            }
            Figure::Plain { of, .. } => Some(at(report, of)?.to_vec()),
            Figure::Difference { of, from, .. } => {
                Some(at(report, of)?.iter().zip(at(report, from)?).map(|(of, from)| of - from).collect())
            }
        }
    }

    /// What is compared between runs.
    fn compared(&self, report: &Report) -> Option<f64> {
        let shown = self.shown(report)?;
        let floor = match self {
            Figure::Ratio { .. } | Figure::Plain { floor: None, .. } => return Some(median(&shown)),
            Figure::Plain { floor: Some(floor), .. } | Figure::Difference { floor, .. } => at(report, floor)?,
        };
        Some(median(&ratios(&shown, floor).collect::<Vec<_>>()))
    }
}

fn at<'r>(report: &'r Report, (title, row): &At) -> Option<&'r [f64]> {
    report.rounds(title, row)
}

fn ratios<'a>(of: &'a [f64], over: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    of.iter().zip(over).map(|(of, over)| of / over)
}

/// The rounds of that row of these whose median is highest: the best peer there is.
fn best(report: &Report, rows: &[At]) -> Option<Vec<f64>> {
    let found = rows.iter().filter_map(|row| at(report, row));
    found.max_by(|a, b| median(a).total_cmp(&median(b))).map(<[f64]>::to_vec)
}

/// The table, in Markdown, with what the run knows of the machine and what it could not measure.
pub fn table(report: &Report) -> String {
    let mut out = String::from("| what | aim | measured | lowest to highest round | |\n|---|---:|---:|---:|---|\n");
    for target in list::targets() {
        let aim = match target.aim {
            Aim::AtLeast(aim) => format!("{} or more", plain(aim)),
            Aim::AtMost(aim) => format!("{} or less", plain(aim)),
        };
        let (measured, range, verdict) = match target.figure.shown(report) {
            None => ("not measured".to_owned(), String::new(), ""),
            Some(rounds) => {
                let (low, high) = spread(&rounds);
                let middle = median(&rounds);
                let verdict = if target.aim.met(middle) { "reached" } else { "**not reached**" };
                (short(middle), format!("{} to {}", short(low), short(high)), verdict)
            }
        };
        let _ = writeln!(out, "| {}, {} | {aim} | {measured} | {range} | {verdict} |", target.what, target.unit);
    }
    out.push('\n');
    for (name, value) in &report.about {
        let _ = writeln!(out, "- {name}: {value}");
    }
    for missing in &report.missing {
        let _ = writeln!(out, "- not measured: {missing}");
    }
    out
}

/// An aim as it was written.
fn plain(aim: f64) -> String {
    format!("{aim}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use headland_report::Section;

    fn report(rows: &[(&str, &[f64])]) -> Report {
        let mut section = Section::new("s", "u");
        rows.iter().for_each(|(name, rounds)| rounds.iter().for_each(|figure| section.add(name, *figure)));
        Report { sections: vec![section], ..Report::default() }
    }

    #[test]
    fn a_ratio_is_taken_round_by_round_over_the_best_of_those_that_were_there() {
        let report = report(&[("ours", &[2.0, 6.0, 4.0]), ("slow", &[0.1, 0.1, 0.1]), ("fast", &[1.0, 2.0, 4.0])]);
        let over = ["absent", "slow", "fast"].map(|row| ("s".to_owned(), row)).to_vec();
        let figure = Figure::Ratio { of: ("s".to_owned(), "ours"), over, factor: 1.0 };
        assert_eq!(figure.shown(&report), Some(vec![2.0, 3.0, 1.0]));
        assert_eq!(figure.compared(&report), Some(2.0));
    }

    #[test]
    fn a_time_is_shown_as_it_is_and_compared_as_a_ratio() {
        let report = report(&[("ours", &[30.0]), ("floor", &[60.0])]);
        let floor = Some(("s".to_owned(), "floor"));
        let figure = Figure::Plain { of: ("s".to_owned(), "ours"), floor };
        assert_eq!((figure.shown(&report), figure.compared(&report)), (Some(vec![30.0]), Some(0.5)));
    }
}
