//! Strokes to the model's input: scaled onto a grid of cells, made as thick as the training data's, counted in blocks.

use crate::ink::Run;
use crate::strokes::Bounds;

/// Cells on a side.
const GRID: usize = 32;
/// Cells a digit is wide at most.
const WIDTH_MAX: usize = 20;
/// Cells that are set in the end: the training data's median.
const INK_CELLS: usize = 310;
/// Cells on a side of the block that makes one value of the input.
const BLOCK: usize = 4;

type Cells = [[u32; GRID]; GRID];

/// The model's input for strokes within their bounds.
pub fn image(strokes: &[Run], bounds: Bounds) -> [f32; 64] {
    let cells = neighbourhood_sums(&neighbourhood_sums(&scale(strokes, bounds)));
    let mut sorted = cells.as_flattened().to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let threshold = sorted[INK_CELLS - 1].max(1);

    let mut image = [0.0; 64];
    for (y, row) in cells.iter().enumerate() {
        for (x, &cell) in row.iter().enumerate() {
            image[y / BLOCK * (GRID / BLOCK) + x / BLOCK] += f32::from(u8::from(cell >= threshold));
        }
    }
    image
}

/// How much of each cell is covered, 0 to 255. The strokes fill the grid's height, and its width in proportion, up to
/// [`WIDTH_MAX`] centred columns.
fn scale(strokes: &[Run], bounds: Bounds) -> Cells {
    let Bounds { left, top, width, height } = bounds;
    let columns = ((2 * GRID * width + height) / (2 * height)).clamp(1, WIDTH_MAX);
    let first_column = (GRID - columns) / 2;

    // One pixel is `GRID` high and `columns` wide here, and one cell `height` high and `width` wide.
    let mut covered = [[0u64; WIDTH_MAX]; GRID];
    for run in strokes {
        let rows = Span { start: (run.row - top) * GRID, end: (run.row - top + 1) * GRID };
        let across = Span { start: (run.start - left) * columns, end: (run.end - left) * columns };
        for (row, high) in rows.cells(height) {
            for (column, wide) in across.cells(width) {
                covered[row][column] += (high * wide) as u64;
            }
        }
    }
    let area = (width * height) as u64;
    let mut cells = [[0; GRID]; GRID];
    for (cells, covered) in cells.iter_mut().zip(&covered) {
        for (cell, covered) in cells[first_column..].iter_mut().zip(&covered[..columns]) {
            *cell = ((255 * covered + area / 2) / area) as u32;
        }
    }
    cells
}

/// A stretch along one axis.
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// The cells of that size it reaches into, and how far it does.
    fn cells(&self, size: usize) -> impl Iterator<Item = (usize, usize)> {
        let (start, end) = (self.start, self.end);
        (start / size..end.div_ceil(size)).map(move |cell| (cell, end.min((cell + 1) * size) - start.max(cell * size)))
    }
}

/// Each cell with its eight neighbours; beyond the grid there is nothing.
fn neighbourhood_sums(cells: &Cells) -> Cells {
    let around = |at: usize| at.saturating_sub(1)..(at + 2).min(GRID);
    std::array::from_fn(|y| {
        std::array::from_fn(|x| cells[around(y)].iter().map(|row| row[around(x)].iter().sum::<u32>()).sum())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solid(width: usize, height: usize) -> (Vec<Run>, Bounds) {
        let runs = (0..height).map(|row| Run { row: row + 5, start: 7, end: 7 + width }).collect();
        (runs, Bounds { left: 7, top: 5, width, height })
    }

    #[test]
    fn a_solid_box_covers_its_cells_fully_whatever_its_size() {
        for (width, height, columns) in [(1, 9, 4), (20, 32, 20), (333, 500, 20), (3, 3, 20), (7, 1000, 1)] {
            let (runs, bounds) = solid(width, height);
            let first = (GRID - columns) / 2;
            for row in scale(&runs, bounds) {
                for (x, cell) in row.into_iter().enumerate() {
                    let expected = if (first..first + columns).contains(&x) { 255 } else { 0 };
                    assert_eq!(cell, expected, "{width} x {height}, column {x}");
                }
            }
        }
    }

    #[test]
    fn a_half_covered_cell_is_half() {
        // 64 rows of 20 columns: two rows to a cell, of which only the upper is ink.
        let runs: Vec<Run> = (0..64).step_by(2).map(|row| Run { row, start: 0, end: 40 }).collect();
        let cells = scale(&runs, Bounds { left: 0, top: 0, width: 40, height: 64 });
        assert!(cells.iter().all(|row| row[6..26].iter().all(|&cell| cell == 128)));
    }

    #[test]
    fn a_thin_and_a_thick_bar_become_alike() {
        let image = |width| {
            let (runs, bounds) = solid(width, 200);
            image(&runs, bounds)
        };
        let ink = |width| image(width).iter().sum::<f32>();
        // Blurred twice, even the thinnest bar reaches five cells across; the thickest fills the box to its rim.
        assert!((150.0..=400.0).contains(&ink(4)), "{}", ink(4));
        assert!((310.0..=400.0).contains(&ink(60)), "{}", ink(60));
        assert!(image(60).iter().all(|value| (0.0..=16.0).contains(value)));
    }
}
