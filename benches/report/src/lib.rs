//! Figures of several rounds, their medians and spread, and how they relate to a reference of the same run: what every bench
//! here prints, and keeps as JSON.

pub mod machine;

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// One table: variants measured alike.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Section {
    /// What was measured.
    pub title: String,
    /// In what.
    pub unit: String,
    /// The first is what the others are compared with.
    pub rows: Vec<Row>,
}

/// A variant's figures, one a round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// The figures.
    pub rounds: Vec<f64>,
}

/// One curve of a plot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Curve {
    /// Its name.
    pub name: String,
    /// Both coordinates of each.
    pub points: Vec<(f64, f64)>,
}

/// One pair of axes with its curves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Panel {
    /// Above it.
    pub title: String,
    /// What the horizontal axis is.
    pub x: String,
    /// What the vertical one is.
    pub y: String,
    /// Whether equal steps of the horizontal axis are equal ratios.
    pub x_log: bool,
    /// The same of the vertical one.
    pub y_log: bool,
    /// What is drawn.
    pub curves: Vec<Curve>,
}

/// Panels drawn side by side, into one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plot {
    /// The file's name.
    pub file: String,
    /// From left to right.
    pub panels: Vec<Panel>,
}

/// All of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Machine, versions, settings: name and value.
    pub about: Vec<(String, String)>,
    /// Tables, in the order of measuring.
    pub sections: Vec<Section>,
    /// What is drawn of it.
    pub plots: Vec<Plot>,
    /// What could not be measured, and why.
    pub missing: Vec<String>,
}

impl Section {
    /// A table without rows.
    pub fn new(title: &str, unit: &str) -> Self {
        Section { title: title.to_owned(), unit: unit.to_owned(), rows: Vec::new() }
    }

    /// Adds a round's figure; the first row is what the others are compared with.
    pub fn add(&mut self, name: &str, figure: f64) {
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.rounds.push(figure),
            None => self.rows.push(Row { name: name.to_owned(), rounds: vec![figure] }),
        }
    }
}

impl Report {
    /// Takes a table that is complete, and prints it.
    pub fn push(&mut self, section: Section) {
        // Shown as soon as it is there: a bench runs for minutes.
        print!("{}", text_of(&section));
        self.sections.push(section);
    }

    /// Notes what could not be measured; said aloud too, since nothing may be left out in silence.
    pub fn miss(&mut self, what: String) {
        eprintln!("NOT MEASURED: {what}");
        self.missing.push(what);
    }

    /// A row's figures, one a round.
    pub fn rounds(&self, title: &str, row: &str) -> Option<&[f64]> {
        let section = self.sections.iter().find(|section| section.title == title)?;
        Some(&section.rows.iter().find(|found| found.name == row)?.rounds)
    }
}

fn text_of(section: &Section) -> String {
    let mut out = format!("\n{} ({})\n", section.title, section.unit);
    let reference = section.rows.first().map_or(f64::NAN, |row| median(&row.rounds));
    let width = section.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    for row in &section.rows {
        let (low, high) = spread(&row.rounds);
        let middle = median(&row.rounds);
        let _ = writeln!(
            out,
            "  {:width$}  {:>10}   min {:>10}  max {:>10}   {:>6.3} x first",
            row.name,
            short(middle),
            short(low),
            short(high),
            middle / reference
        );
    }
    out
}

/// A figure with as many digits as it is good for.
pub fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 1000.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.4}"),
    }
}

/// The lowest and the highest.
pub fn spread(figures: &[f64]) -> (f64, f64) {
    figures.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), figure| (low.min(*figure), high.max(*figure)))
}

/// The middle figure; of an even number, the lower middle one.
pub fn median(figures: &[f64]) -> f64 {
    percentile(figures, 0.5)
}

/// The figure below or at which `share` of them lie.
pub fn percentile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_figures_that_were_measured() {
        let figures: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!((median(&figures), percentile(&figures, 0.99), percentile(&[7.0], 0.99)), (50.0, 99.0, 7.0));
    }
}
