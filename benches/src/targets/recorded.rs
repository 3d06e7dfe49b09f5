//! The ratios of an earlier run, and whether those of this one are worse.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Aim, Target, list};
use headland_report::Report;

/// benches/recorded.json.
#[derive(Serialize, Deserialize)]
struct Recorded {
    /// Of the run it was taken from.
    about: Vec<(String, String)>,
    ratios: BTreeMap<String, f64>,
}

/// A run's ratios, to be kept.
pub fn record(report: &Report) -> Result<String> {
    let ratio = |target: Target| Some((target.id.to_owned(), target.figure.compared(report)?));
    let ratios = list::targets().into_iter().filter_map(ratio).collect();
    Ok(serde_json::to_string_pretty(&Recorded { about: report.about.clone(), ratios })? + "\n")
}

/// Whether no ratio is worse than its tolerance allows, and a table that says so. What was recorded has to be there.
pub fn check(report: &Report, recorded: &str) -> Result<(bool, String)> {
    let recorded: Recorded = serde_json::from_str(recorded).context("the recorded ratios")?;
    let mut fine = true;
    let mut out = format!("{:20} {:>10} {:>10} {:>10}\n", "ratio", "recorded", "now", "tolerance");
    for target in list::targets() {
        let (before, now) = (recorded.ratios.get(target.id).copied(), target.figure.compared(report));
        let Some(verdict) = verdict(&target, before, now) else { continue };
        fine &= verdict.fine;
        let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
        let (before, now) = (figure(before), figure(now));
        let tolerance = target.tolerance * 100.0;
        let _ = writeln!(out, "{:20} {before:>10} {now:>10} {tolerance:>9.2}%  {}", target.id, verdict.says);
    }
    Ok((fine, out))
}

struct Verdict {
    fine: bool,
    says: &'static str,
}

fn verdict(target: &Target, before: Option<f64>, now: Option<f64>) -> Option<Verdict> {
    let (fine, says) = match (before, now) {
        (None, None) => return None,
        (None, Some(_)) => (true, "not recorded yet"),
        (Some(_), None) => (false, "MISSING in this run"),
        (Some(before), Some(now)) => {
            let slack = before.abs() * target.tolerance;
            let (worse, better) = match target.aim {
                Aim::AtLeast(_) => (now < before - slack, now > before + slack),
                Aim::AtMost(_) => (now > before + slack, now < before - slack),
            };
            (
                !worse,
                if worse {
                    "WORSE"
                } else if better {
                    "better: record it"
                } else {
                    "as before"
                },
            )
        }
    };
    Some(Verdict { fine, says })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(id: &str, before: f64, now: f64) -> &'static str {
        let target = list::targets().into_iter().find(|target| target.id == id).unwrap();
        verdict(&target, Some(before), Some(now)).unwrap().says
    }

    #[test]
    fn a_rate_that_falls_and_a_time_that_grows_past_the_tolerance_are_worse() {
        assert_eq!(says("hello-fresh", 0.40, 0.35), "WORSE");
        assert_eq!(says("hello-fresh", 0.40, 0.37), "as before");
        assert_eq!(says("hello-fresh", 0.40, 0.50), "better: record it");
        assert_eq!(says("own-native", 1.0, 1.3), "WORSE");
        assert_eq!(says("own-native", 1.0, 0.5), "better: record it");
    }

    #[test]
    fn what_was_recorded_and_is_not_measured_fails_the_check() {
        let recorded = r#"{"about":[],"ratios":{"hello-fresh":0.4}}"#;
        let (fine, table) = check(&Report::default(), recorded).unwrap();
        assert!(!fine && table.contains("MISSING"), "{table}");
    }

    #[test]
    fn every_target_has_an_id_of_its_own() {
        let mut ids: Vec<_> = list::targets().iter().map(|target| target.id).collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
