//! A request's token tensors, checked and packed: the tokens of all texts one after the other, without padding.

use std::ops::Range;

use headland_nn_core::{NamedTensor, NnError};

use crate::Architecture;

/// The most tokens that one run takes, padding not counted: what one core does in about a minute. Token embeddings are
/// given for padding too, so there it counts.
pub const MAX_BATCH_TOKENS: usize = 1 << 16;

/// The most tokens, padding included, that one run reads.
pub const MAX_PADDED_TOKENS: usize = 1 << 20;

/// Tokens to run.
pub struct Batch {
    rows: usize,
    columns: usize,
    ids: Vec<u32>,
    positions: Vec<u32>,
    token_types: Vec<u32>,
    /// The tokens of each text, as a range of the packed ones. A text whose mask is all zero has none and is left out.
    texts: Vec<Range<usize>>,
    /// For each text its row in the request.
    text_rows: Vec<usize>,
    /// For each token its place in the request.
    places: Vec<usize>,
}

impl Batch {
    /// Packs `inputs`, which have passed the signature's check.
    ///
    /// # Errors
    /// [`NnError::InvalidInput`] for an id outside its table, a mask of other values than 0 and 1, or a batch of nothing;
    /// [`NnError::TooLarge`] for a sequence or a batch that is too long.
    pub fn pack(inputs: &[NamedTensor], architecture: &Architecture) -> Result<Self, NnError> {
        let input = |name: &str| inputs.iter().find(|input| *input.name == *name).map(|input| &input.tensor);
        let ids = input("input_ids").ok_or_else(|| NnError::invalid("input `input_ids` is missing"))?;
        let &[rows, columns] = &**ids.shape() else {
            return Err(NnError::invalid(format!("input `input_ids` is of shape {}; it has two axes", ids.shape())));
        };
        check_extent(rows, columns, architecture)?;
        let values = |name: &str| input(name).map(|tensor| tensor.to_slice::<i64>()).transpose();
        let (ids, mask, types) = (ids.to_slice::<i64>()?, values("attention_mask")?, values("token_type_ids")?);
        let mut batch = Batch::with_capacity(rows, columns);
        for row in 0..rows {
            let begin = batch.ids.len();
            let mut position = 0;
            for place in row * columns..(row + 1) * columns {
                let id = index_into(architecture.vocabulary, "token id", ids[place], place, columns)?;
                let own_position = architecture.position(id, &mut position);
                let token_type = match &types {
                    // A model without segments takes what says "all in the first one".
                    Some(types) => {
                        index_into(architecture.token_types.max(1), "token type", types[place], place, columns)?
                    }
                    None => 0,
                };
                match mask.as_ref().map_or(1, |mask| mask[place]) {
                    0 => continue,
                    1 => {}
                    other => {
                        return Err(NnError::invalid(format!(
                            "attention_mask[{row},{}] is {other}; 1 stands for a token and 0 for padding",
                            place % columns
                        )));
                    }
                }
                batch.ids.push(id);
                batch.positions.push(own_position);
                batch.token_types.push(token_type);
                batch.places.push(place);
            }
            if batch.ids.len() > begin {
                batch.texts.push(begin..batch.ids.len());
                batch.text_rows.push(row);
            }
        }
        if batch.ids.len() > MAX_BATCH_TOKENS {
            return Err(too_many(batch.ids.len(), MAX_BATCH_TOKENS));
        }
        Ok(batch)
    }

    fn with_capacity(rows: usize, columns: usize) -> Self {
        let tokens = || Vec::with_capacity(rows * columns);
        Batch {
            rows,
            columns,
            ids: tokens(),
            positions: tokens(),
            token_types: tokens(),
            texts: Vec::with_capacity(rows),
            text_rows: Vec::with_capacity(rows),
            places: Vec::with_capacity(rows * columns),
        }
    }

    /// Rows and columns of the request.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// The texts in slices of at most `tokens` tokens, or of one text if that alone has more. What runs at once decides
    /// how much memory a run takes, and texts know nothing of each other.
    pub fn slices(&self, tokens: usize) -> impl Iterator<Item = Slice<'_>> {
        let mut begin = 0;
        std::iter::from_fn(move || {
            let first = self.texts.get(begin)?;
            let fitting = self.texts[begin..].iter().take_while(|text| text.end - first.start <= tokens).count().max(1);
            let texts = begin..begin + fitting;
            begin = texts.end;
            Some(Slice { batch: self, tokens: first.start..self.texts[texts.end - 1].end, texts })
        })
    }
}

/// Some texts of a batch, to be run together.
pub struct Slice<'a> {
    batch: &'a Batch,
    texts: Range<usize>,
    tokens: Range<usize>,
}

impl Slice<'_> {
    /// Token ids, packed.
    pub fn ids(&self) -> &[u32] {
        &self.batch.ids[self.tokens.clone()]
    }

    /// Rows of the position table, packed.
    pub fn positions(&self) -> &[u32] {
        &self.batch.positions[self.tokens.clone()]
    }

    /// Segments, packed.
    pub fn token_types(&self) -> &[u32] {
        &self.batch.token_types[self.tokens.clone()]
    }

    /// For each token its place in the request.
    pub fn places(&self) -> &[usize] {
        &self.batch.places[self.tokens.clone()]
    }

    /// The tokens of each text, as a range of this slice's.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = Range<usize>> {
        let begin = self.tokens.start;
        self.batch.texts[self.texts.clone()].iter().map(move |text| text.start - begin..text.end - begin)
    }

    /// The request's row of each of [`Self::texts`].
    pub fn text_rows(&self) -> &[usize] {
        &self.batch.text_rows[self.texts.clone()]
    }
}

impl Architecture {
    /// The position of the next token, `id`, where `count` tokens went before that have one.
    fn position(&self, id: u32, count: &mut u32) -> u32 {
        match self.counts_from_padding {
            Some(padding) if id == padding => padding,
            from => {
                *count += 1;
                from.map_or(*count - 1, |padding| padding + *count)
            }
        }
    }
}

fn check_extent(rows: usize, columns: usize, architecture: &Architecture) -> Result<(), NnError> {
    if rows == 0 || columns == 0 {
        return Err(NnError::invalid(format!("input `input_ids` is of shape [{rows},{columns}]; it holds no token")));
    }
    let longest = architecture.longest();
    if columns > longest {
        return Err(NnError::TooLarge(
            format!("a sequence of {columns} tokens; the model takes at most {longest}, so truncate it").into(),
        ));
    }
    // Neither overflows: the tensor is in memory.
    match rows * columns {
        tokens if tokens > MAX_PADDED_TOKENS => Err(too_many(tokens, MAX_PADDED_TOKENS)),
        _ => Ok(()),
    }
}

/// A refusal of `tokens` tokens.
pub fn too_many(tokens: usize, at_most: usize) -> NnError {
    NnError::TooLarge(format!("a batch of {tokens} tokens; at most {at_most} run at once, so split it").into())
}

/// `value` as an index into a table of `rows`.
fn index_into(rows: usize, what: &str, value: i64, place: usize, columns: usize) -> Result<u32, NnError> {
    u32::try_from(value).ok().filter(|&index| (index as usize) < rows).ok_or_else(|| {
        NnError::invalid(format!(
            "{what} {value} at [{},{}] is out of range; the model has 0 to {}",
            place / columns,
            place % columns,
            rows - 1
        ))
    })
}
