//! Figures of several rounds, their medians, and how they relate to a reference of the same run.

use std::fmt::Write;

use serde_json::{Value, json};

/// One table: variants measured alike.
#[derive(Default)]
pub struct Section {
    pub title: String,
    pub unit: &'static str,
    /// Name and one figure a round.
    pub rows: Vec<(String, Vec<f64>)>,
}

impl Section {
    pub fn new(title: &str, unit: &'static str) -> Self {
        Section { title: title.to_owned(), unit, rows: Vec::new() }
    }

    /// Adds a round's figure; the first row is what the others are compared with.
    pub fn add(&mut self, name: &str, figure: f64) {
        match self.rows.iter_mut().find(|(row, _)| row == name) {
            Some((_, figures)) => figures.push(figure),
            None => self.rows.push((name.to_owned(), vec![figure])),
        }
    }
}

#[derive(Default)]
pub struct Report {
    sections: Vec<Section>,
}

impl Report {
    pub fn push(&mut self, section: Section) {
        // Shown as soon as it is there: a bench runs for minutes.
        print!("{}", text_of(&section));
        self.sections.push(section);
    }

    pub fn json(&self) -> Value {
        let sections = self.sections.iter().map(|section| {
            let reference = section.rows.first().map_or(f64::NAN, |(_, figures)| median(figures));
            let rows: Vec<Value> = section
                .rows
                .iter()
                .map(|(name, figures)| {
                    json!({"name": name, "median": median(figures), "rounds": figures, "ratio": median(figures) / reference})
                })
                .collect();
            json!({"title": section.title, "unit": section.unit, "rows": rows})
        });
        Value::Array(sections.collect())
    }
}

fn text_of(section: &Section) -> String {
    let mut out = format!("\n{} ({})\n", section.title, section.unit);
    let reference = section.rows.first().map_or(f64::NAN, |(_, figures)| median(figures));
    let width = section.rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, figures) in &section.rows {
        let (low, high) = figures.iter().fold((f64::MAX, f64::MIN), |(low, high), f| (low.min(*f), high.max(*f)));
        let median = median(figures);
        let _ = writeln!(
            out,
            "  {name:width$}  {median:>10.1}   min {low:>10.1}  max {high:>10.1}   {:>6.3} x first",
            median / reference
        );
    }
    out
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
