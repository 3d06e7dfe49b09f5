//! Strokes from ink: connected parts, without the tiny ones, and the box around them.

use crate::ink::Run;

/// Parts smaller than a 20th of the largest are dirt.
const SPECK_SHARE: usize = 20;

/// A box in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// The runs without those of specks. Pixels that touch, diagonally too, belong together. `runs` are in order of row
/// and column, and so is the answer.
pub fn without_specks(mut runs: Vec<Run>) -> Vec<Run> {
    let parts = connect(&runs);
    let mut sizes = vec![0usize; runs.len()];
    for (run, &part) in runs.iter().zip(&parts) {
        sizes[part] += run.end - run.start;
    }
    let largest = sizes.iter().copied().max().unwrap_or(0);
    let mut parts = parts.into_iter();
    runs.retain(|_| parts.next().is_some_and(|part| sizes[part] * SPECK_SHARE >= largest));
    runs
}

/// The smallest box around all runs, if there are any.
pub fn bounds(runs: &[Run]) -> Option<Bounds> {
    let (top, bottom) = (runs.first()?.row, runs.last()?.row + 1);
    let left = runs.iter().map(|run| run.start).min()?;
    let right = runs.iter().map(|run| run.end).max()?;
    Some(Bounds { left, top, width: right - left, height: bottom - top })
}

/// The connected part of each run, named by the index of one of its runs.
fn connect(runs: &[Run]) -> Vec<usize> {
    let mut parents: Vec<usize> = (0..runs.len()).collect();
    // `above` walks over the runs of the row above along with the current row.
    let mut above = 0;
    for (current, run) in runs.iter().enumerate() {
        while above < current && (runs[above].row + 1 < run.row || is_left_above(&runs[above], run)) {
            above += 1;
        }
        let touching =
            runs[above..current].iter().take_while(|other| other.row + 1 == run.row && other.start <= run.end);
        for other in above..above + touching.count() {
            let (a, b) = (root(&mut parents, other), root(&mut parents, current));
            parents[a.max(b)] = a.min(b);
        }
    }
    (0..runs.len()).map(|run| root(&mut parents, run)).collect()
}

/// Whether `other` lies in the row above and ends before it could touch `run`.
fn is_left_above(other: &Run, run: &Run) -> bool {
    other.row + 1 == run.row && other.end < run.start
}

fn root(parents: &mut [usize], mut run: usize) -> usize {
    while parents[run] != run {
        // Halving the path keeps the next walk short.
        parents[run] = parents[parents[run]];
        run = parents[run];
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(picture: &[&str]) -> Vec<Run> {
        let mut runs = Vec::new();
        for (row, line) in picture.iter().enumerate() {
            let mut at = 0;
            for stretch in line.as_bytes().chunk_by(|a, b| a == b) {
                if stretch[0] == b'#' {
                    runs.push(Run { row, start: at, end: at + stretch.len() });
                }
                at += stretch.len();
            }
        }
        runs
    }

    fn parts(picture: &[&str]) -> usize {
        let mut parts = connect(&runs(picture));
        parts.sort_unstable();
        parts.dedup();
        parts.len()
    }

    #[test]
    fn touching_pixels_are_one_part_and_diagonals_touch() {
        assert_eq!(parts(&["#.#", ".#.", "#.#"]), 1);
        assert_eq!(parts(&["##..##", "......", "######"]), 3);
        assert_eq!(parts(&["#.#.#", "#.#.#", "#####"]), 1);
        assert_eq!(parts(&["#####", "#...#", "#.#.#", "#...#", "#####"]), 2);
        assert_eq!(parts(&["#..#", "..#.", "#..#"]), 3);
        assert_eq!(parts(&["#......", "......#"]), 2);
    }

    #[test]
    fn specks_are_dropped_and_a_separate_stroke_is_kept() {
        let line = "#".repeat(41);
        let picture = [line.as_str(), "", "#..##", "", "...###"];
        let kept = without_specks(runs(&picture));
        assert_eq!(kept.iter().map(|run| run.end - run.start).collect::<Vec<_>>(), [41, 3]);
        assert_eq!(bounds(&kept), Some(Bounds { left: 0, top: 0, width: 41, height: 5 }));
    }

    #[test]
    fn no_ink_has_no_box() {
        assert_eq!(bounds(&without_specks(Vec::new())), None);
    }
}
