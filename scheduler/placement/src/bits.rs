//! A table of yes and no, one bit each.

#[derive(Clone)]
pub(crate) struct Bits {
    words_per_row: usize,
    words: Vec<u64>,
    /// By row: whether anything was ever set.
    touched: Vec<bool>,
}

impl Bits {
    pub fn new(rows: usize, columns: usize) -> Self {
        let words_per_row = columns.div_ceil(64);
        Self { words_per_row, words: vec![0; rows * words_per_row], touched: vec![false; rows] }
    }

    pub fn get(&self, row: usize, column: usize) -> bool {
        self.words[row * self.words_per_row + column / 64] >> (column % 64) & 1 == 1
    }

    /// Whether a row may have something set; `false` is certain.
    pub fn any(&self, row: usize) -> bool {
        self.touched[row]
    }

    pub fn set(&mut self, row: usize, column: usize, yes: bool) {
        let word = &mut self.words[row * self.words_per_row + column / 64];
        let bit = 1 << (column % 64);
        self.touched[row] |= yes;
        if yes { *word |= bit } else { *word &= !bit }
    }

    /// The columns in which a row of this table and of another differ, with what is in this one.
    pub fn differences<'a>(&'a self, other: &'a Self, row: usize) -> impl Iterator<Item = (usize, bool)> + 'a {
        let words = row * self.words_per_row..(row + 1) * self.words_per_row;
        let pairs = self.words[words.clone()].iter().zip(&other.words[words]).enumerate();
        pairs.filter(|(_, (a, b))| a != b).flat_map(|(word, (&a, &b))| {
            (0..64).filter(move |bit| (a ^ b) >> bit & 1 == 1).map(move |bit| (word * 64 + bit, a >> bit & 1 == 1))
        })
    }
}
