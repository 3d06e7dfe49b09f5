//! A folder's tensors as an encoder: read, put together, packed, and for 8 bits looked at while they run.

use headland_encoder::{Architecture, Batch};
use headland_kernels::{self as kernels, Attention, LayerNorm, Level, Linear, Team};
use headland_nn_core::{NamedTensor, NnError, Precision, Tensor};

use crate::encoder::{Between, Block, Embeddings, Encoder, Map, Shape};
use crate::weights::Weights;

/// Texts of the sample that shows how large the inputs of linear maps become, and their tokens.
const SAMPLE: [usize; 2] = [8, 32];

/// Reads all tensors of `architecture`, and packs them for `level` and `precision`.
pub(crate) fn encoder(
    weights: &Weights,
    architecture: &Architecture,
    level: Level,
    precision: Precision,
) -> Result<Encoder, NnError> {
    let (heads, hidden) = (architecture.heads, architecture.hidden);
    let shape = Shape {
        attention: Attention::new(level, heads, hidden / heads),
        activation: match architecture.activation {
            headland_encoder::Activation::Gelu => kernels::Activation::Gelu,
            headland_encoder::Activation::GeluTanh => kernels::Activation::GeluTanh,
            headland_encoder::Activation::Relu => kernels::Activation::Relu,
        },
        hidden,
    };
    let loader = Loader { weights, architecture, level, shape };
    let embeddings = loader.embeddings()?;
    let blocks = match precision {
        Precision::Full => {
            (0..architecture.layers).map(|index| Ok(loader.stored(index)?.full())).collect::<Result<_, _>>()
        }
        Precision::Int8 => loader.int8_blocks(&embeddings),
    };
    Ok(Encoder { embeddings, blocks: blocks?, shape })
}

struct Loader<'a> {
    weights: &'a Weights<'a>,
    architecture: &'a Architecture,
    level: Level,
    shape: Shape,
}

/// A layer as it is stored.
struct Stored<'a> {
    loader: &'a Loader<'a>,
    maps: [StoredMap; 4],
    norms: [[Vec<f32>; 2]; 2],
}

struct StoredMap {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Loader<'_> {
    fn embeddings(&self) -> Result<Embeddings, NnError> {
        let table = |name: &str, rows: usize| {
            let name = format!("embeddings.{name}_embeddings.weight");
            self.weights.floats(&name, &[rows, self.architecture.hidden])
        };
        Ok(Embeddings {
            words: table("word", self.architecture.vocabulary)?,
            positions: table("position", self.architecture.positions)?,
            token_types: match self.architecture.token_types {
                0 => None,
                rows => Some(table("token_type", rows)?),
            },
            norm: self.norm(&self.stored_norm("embeddings.LayerNorm")?),
        })
    }

    /// Packs layer after layer in 8 bits, each once a sample has passed it in full precision: a few inputs of linear maps
    /// are much larger than all others, and which they are depends little on the text.
    fn int8_blocks(&self, embeddings: &Embeddings) -> Result<Vec<Block>, NnError> {
        let [texts, tokens] = SAMPLE.map(|extent| extent.min(self.architecture.longest()));
        // Tokens from all over the vocabulary: a prime apart, modulo its size.
        let ids = (0..texts * tokens).map(|index| (index * 7_919 % self.architecture.vocabulary) as i64).collect();
        let ids = NamedTensor::new("input_ids", Tensor::from_vec([texts, tokens], ids)?);
        let batch = Batch::pack(&[ids], self.architecture)?;
        let Some(sample) = batch.slices(texts * tokens).next() else { return Ok(Vec::new()) };
        let mut hidden = vec![0.0; sample.ids().len() * self.shape.hidden];
        let (mut between, mut team) = (Between::default(), Team::alone());
        embeddings.forward(&sample, &mut hidden);
        let mut block = |index: usize| {
            let stored = self.stored(index)?;
            let mut largest: [Vec<f32>; 4] = stored.maps.each_ref().map(|map| vec![0.0; map.inputs()]);
            self.shape.pass(&stored.full(), &sample, &mut hidden, &mut between, &mut team, |map, rows| {
                let largest = &mut largest[map as usize];
                for row in rows.chunks_exact(largest.len()) {
                    largest.iter_mut().zip(row).for_each(|(most, x)| *most = most.max(x.abs()));
                }
            });
            Ok(stored.int8(&largest))
        };
        (0..self.architecture.layers).map(&mut block).collect()
    }

    fn stored(&self, index: usize) -> Result<Stored<'_>, NnError> {
        let (names, hidden) = (self.architecture.names, self.architecture.hidden);
        let wide = self.architecture.intermediate;
        let name = |part: &str| format!("{}.{index}.{part}", names.layer);
        let map = |part: &str, inputs: usize, outputs: usize| self.stored_map(&name(part), inputs, outputs);
        let mut query_key_value = map(names.query, hidden, hidden)?;
        // The scores' division by the root of the head size, done once and for all.
        let factor = 1.0 / ((hidden / self.architecture.heads) as f32).sqrt();
        query_key_value.weight.iter_mut().chain(&mut query_key_value.bias).for_each(|weight| *weight *= factor);
        for part in [names.key, names.value] {
            let part = map(part, hidden, hidden)?;
            query_key_value.weight.extend(part.weight);
            query_key_value.bias.extend(part.bias);
        }
        let maps = [
            query_key_value,
            map(names.attention_output, hidden, hidden)?,
            map(names.feed_forward_in, hidden, wide)?,
            map(names.feed_forward_out, wide, hidden)?,
        ];
        let norms = [self.stored_norm(&name(names.attention_norm))?, self.stored_norm(&name(names.output_norm))?];
        Ok(Stored { loader: self, maps, norms })
    }

    fn stored_map(&self, name: &str, inputs: usize, outputs: usize) -> Result<StoredMap, NnError> {
        Ok(StoredMap {
            weight: self.weights.copied(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: self.weights.copied(&format!("{name}.bias"), &[outputs])?,
        })
    }

    /// `name.weight` and `name.bias`, or `name.gamma` and `name.beta`, as conversions from TensorFlow have them.
    fn stored_norm(&self, name: &str) -> Result<[Vec<f32>; 2], NnError> {
        let old = self.weights.has(&format!("{name}.gamma"));
        let (gain, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let read = |part: &str| self.weights.copied(&format!("{name}.{part}"), &[self.architecture.hidden]);
        Ok([read(gain)?, read(bias)?])
    }

    fn norm(&self, [gain, bias]: &[Vec<f32>; 2]) -> LayerNorm {
        LayerNorm::new(self.level, gain.clone(), bias.clone(), self.architecture.norm_epsilon)
    }
}

impl Stored<'_> {
    fn full(&self) -> Block {
        self.block(
            self.maps.each_ref().map(|map| Linear::full(self.loader.level, &map.weight, map.inputs(), &map.bias)),
        )
    }

    /// `largest` has the largest magnitude of each input of each map.
    fn int8(&self, largest: &[Vec<f32>; 4]) -> Block {
        let packed = |map: Map| {
            let (stored, largest) = (&self.maps[map as usize], &largest[map as usize]);
            Linear::int8(self.loader.level, &stored.weight, stored.inputs(), &stored.bias, largest)
        };
        self.block([Map::QueryKeyValue, Map::AttentionOutput, Map::FeedForwardIn, Map::FeedForwardOut].map(packed))
    }

    fn block(&self, maps: [Linear; 4]) -> Block {
        let [attention_norm, output_norm] = self.norms.each_ref().map(|norm| self.loader.norm(norm));
        Block { maps, attention_norm, output_norm }
    }
}

impl StoredMap {
    fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len()
    }
}
