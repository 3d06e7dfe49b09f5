//! A table of yes and no, one bit each.

#[derive(Clone)]
pub(crate) struct Bits {
    words_per_row: usize,
    words: Vec<u64>,
}

impl Bits {
    pub fn new(rows: usize, columns: usize) -> Self {
        let words_per_row = columns.div_ceil(64);
        Self { words_per_row, words: vec![0; rows * words_per_row] }
    }

    pub fn get(&self, row: usize, column: usize) -> bool {
        self.words[row * self.words_per_row + column / 64] >> (column % 64) & 1 == 1
    }

    pub fn set(&mut self, row: usize, column: usize, yes: bool) {
        let word = &mut self.words[row * self.words_per_row + column / 64];
        let bit = 1 << (column % 64);
        if yes { *word |= bit } else { *word &= !bit }
    }
}
