//! Ink from paper: a threshold, which side of it is the ink, and the ink as runs of pixels.

use crate::PictureError;
use crate::decode::Gray;

/// The least difference between the darkest and the lightest pixel.
const CONTRAST_MIN: u8 = 32;
/// The most runs of ink; a picture with more is noise, not writing.
const RUNS_MAX: usize = 1 << 20;

/// Neighbouring pixels of ink in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The row.
    pub row: usize,
    /// First column.
    pub start: usize,
    /// Column after the last.
    pub end: usize,
}

/// All runs of ink, by row and column. Ink is what the picture's border mostly is not, so that both dark on light and
/// light on dark are read.
///
/// # Errors
/// [`PictureError::NoDigit`] for a blank picture, or one that is all noise.
pub fn runs(gray: &Gray) -> Result<Vec<Run>, PictureError> {
    let histogram = histogram(&gray.pixels);
    let darkest = histogram.iter().position(|&count| count > 0).unwrap_or(0);
    let lightest = histogram.iter().rposition(|&count| count > 0).unwrap_or(0);
    if lightest - darkest < usize::from(CONTRAST_MIN) {
        return Err(PictureError::NoDigit("it is blank"));
    }
    let threshold = otsu(&histogram);
    let ink_is_dark = !border_is_dark(gray, threshold);

    let mut runs = Vec::new();
    for (row, pixels) in gray.pixels.chunks_exact(gray.width).enumerate() {
        let mut at = 0;
        for stretch in pixels.chunk_by(|&a, &b| (a <= threshold) == (b <= threshold)) {
            let start = at;
            at += stretch.len();
            if (stretch[0] <= threshold) == ink_is_dark {
                runs.push(Run { row, start, end: at });
            }
        }
        if runs.len() > RUNS_MAX {
            return Err(PictureError::NoDigit("it is nothing but noise"));
        }
    }
    Ok(runs)
}

fn histogram(pixels: &[u8]) -> [u32; 256] {
    let mut histogram = [0; 256];
    for &pixel in pixels {
        histogram[usize::from(pixel)] += 1;
    }
    histogram
}

/// Otsu's threshold: the split into dark (at or below) and light whose means differ most, weighted by their sizes.
fn otsu(histogram: &[u32; 256]) -> u8 {
    let total: u64 = histogram.iter().map(|&count| u64::from(count)).sum();
    let total_sum: u64 = (0..).zip(histogram).map(|(value, &count): (u64, _)| value * u64::from(count)).sum();
    let (mut below, mut sum_below) = (0u64, 0u64);
    let (mut best, mut best_spread) = (0, -1.0);
    for (value, &count) in (0u8..=254).zip(histogram) {
        below += u64::from(count);
        sum_below += u64::from(value) * u64::from(count);
        let above = total - below;
        if below == 0 || above == 0 {
            continue;
        }
        let means = sum_below as f64 / below as f64 - (total_sum - sum_below) as f64 / above as f64;
        let spread = below as f64 * above as f64 * (means * means);
        if spread > best_spread {
            (best, best_spread) = (value, spread);
        }
    }
    best
}

/// Whether more than half of the outermost pixels are dark.
fn border_is_dark(gray: &Gray, threshold: u8) -> bool {
    let rows = || gray.pixels.chunks_exact(gray.width);
    let inner = rows().take(gray.height - 1).skip(1);
    let sides = inner.flat_map(|row| [row.first(), row.last()]).flatten();
    let ends = rows().next().into_iter().chain(rows().next_back()).flatten();
    let (mut dark, mut all) = (0, 0);
    for &pixel in sides.chain(ends) {
        dark += usize::from(pixel <= threshold);
        all += 1;
    }
    2 * dark > all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray(rows: &[&[u8]]) -> Gray {
        Gray { width: rows[0].len(), height: rows.len(), pixels: rows.concat() }
    }

    #[test]
    fn ink_is_found_dark_on_light_and_light_on_dark() {
        let dark = gray(&[&[200, 200, 200, 200], &[200, 10, 30, 200], &[200, 200, 200, 200]]);
        let light = gray(&[&[10, 20, 10, 20], &[20, 220, 250, 10], &[10, 20, 10, 20]]);
        assert_eq!(runs(&dark).unwrap(), [Run { row: 1, start: 1, end: 3 }]);
        assert_eq!(runs(&light).unwrap(), [Run { row: 1, start: 1, end: 3 }]);
    }

    #[test]
    fn a_row_may_hold_several_runs_up_to_both_edges() {
        let picture = gray(&[&[255; 5], &[0, 255, 0, 0, 255], &[255; 5], &[255; 5]]);
        assert_eq!(runs(&picture).unwrap(), [Run { row: 1, start: 0, end: 1 }, Run { row: 1, start: 2, end: 4 }]);
    }

    #[test]
    fn a_blank_picture_has_no_digit() {
        let error = runs(&gray(&[&[100, 131], &[110, 120]])).unwrap_err();
        assert_eq!(error.to_string(), "no digit found in the picture: it is blank");
        assert!(runs(&gray(&[&[7]])).is_err());
    }

    #[test]
    fn the_threshold_lies_at_the_upper_end_of_the_dark_class() {
        let mut histogram = [0; 256];
        (histogram[20], histogram[40], histogram[200]) = (50, 50, 300);
        assert_eq!(otsu(&histogram), 40);
    }
}
