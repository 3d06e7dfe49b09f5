//! The ONNX graph of an encoder, written for packed batches: tokens without padding wherever each is on its own, and
//! padded only between the two products of attention.
//!
//! Attention wants its operands by text and head, so they must be put in another order anyway. Here `Gather` does that, by
//! indices made for the batch (`packing`), and skips padding on the way: on the processor it costs what `Transpose` does.
//!
//! Operators that fuse several (`Attention`, `SkipLayerNormalization`, `EmbedLayerNormalization`) were measured slower on
//! the processor than what they replace and are left out. `FusedMatMul` saves a transposition and a multiplication.

use headland_encoder::{Activation, Architecture};
use headland_nn_core::NnError;

use super::int8::{self, Peaks, Range};
use super::linear::Linear;
use super::weights::{Stored, Weights};
use crate::external::ExternalTensor;
use crate::graph::{Attribute, Edge, Elem, Graph};

/// Inputs by their position.
pub(crate) const IDS: usize = 0;
pub(crate) const POSITIONS: usize = 1;
pub(crate) const HEAD_ROWS: usize = 2;
pub(crate) const TOKEN_ROWS: usize = 3;
pub(crate) const MASK: usize = 4;
/// Last, because a model without segments does not have it.
pub(crate) const TOKEN_TYPES: usize = 5;

/// What the graph computes.
#[derive(Clone, Copy)]
pub(crate) enum Kind<'a> {
    /// Token embeddings, `[tokens, hidden]`, in FP32.
    Full,
    /// The same with products of 8 bits.
    Int8(&'a Peaks),
    /// What [`Peaks`] holds.
    Peaks,
}

/// A model for ONNX Runtime.
pub(crate) struct Written {
    /// The graph.
    pub model: Vec<u8>,
    /// Its constants that lie in the weights file.
    pub external: Vec<ExternalTensor>,
    /// What the weights it uses take once loaded.
    pub weights_bytes: u64,
}

/// Writes the graph.
///
/// # Errors
/// [`NnError::BadModel`] for a tensor that is missing or not as `config.json` says.
pub(crate) fn write(architecture: &Architecture, weights: &Weights, kind: Kind) -> Result<Written, NnError> {
    let mut writer = Writer::new(architecture, weights, kind);
    let mut hidden = writer.embeddings()?;
    for layer in 0..architecture.layers {
        hidden = writer.layer(layer, hidden)?;
    }
    Ok(writer.finish(&hidden))
}

struct Writer<'a> {
    graph: Graph,
    architecture: &'a Architecture,
    weights: &'a Weights<'a>,
    kind: Kind<'a>,
    rows: Rows,
    peaks: Vec<Edge>,
    weights_bytes: u64,
}

/// The indices that attention's operands are gathered by.
struct Rows {
    query: Edge,
    key: Edge,
    value: Edge,
}

impl<'a> Writer<'a> {
    fn new(architecture: &'a Architecture, weights: &'a Weights<'a>, kind: Kind<'a>) -> Self {
        let mut graph = Graph::default();
        let heads = architecture.heads as i64;
        graph.input("ids", Elem::I32, &[-1]);
        graph.input("positions", Elem::I32, &[-1]);
        let query = graph.input("head_rows", Elem::I32, &[-1, heads, -1]);
        graph.input("token_rows", Elem::I32, &[-1, heads]);
        graph.input("mask", Elem::F32, &[-1, 1, 1, -1]);
        // A token's row holds all its queries, then all its keys, then all its values.
        let step = graph.constant("heads", Elem::I32, &[], &(architecture.heads as i32).to_le_bytes());
        let key = graph.op("Add", &[&query, &step], &[]);
        let value = graph.op("Add", &[&key, &step], &[]);
        let rows = Rows { query, key, value };
        Writer { graph, architecture, weights, kind, rows, peaks: Vec::new(), weights_bytes: 0 }
    }

    fn embeddings(&mut self) -> Result<Edge, NnError> {
        let a = self.architecture;
        let words = self.rows_of("word", a.vocabulary, "ids")?;
        let positions = self.rows_of("position", a.positions, "positions")?;
        let mut sum = self.graph.op("Add", &[&words, &positions], &[]);
        if a.token_types > 0 {
            self.graph.input("token_types", Elem::I32, &[-1]);
            let types = self.rows_of("token_type", a.token_types, "token_types")?;
            sum = self.graph.op("Add", &[&sum, &types], &[]);
        }
        self.norm("embeddings.LayerNorm", &sum)
    }

    /// The rows of a table at `indices`. Those are converted where the table is not of FP32, not the table.
    fn rows_of(&mut self, table: &str, rows: usize, indices: &str) -> Result<Edge, NnError> {
        let name = format!("embeddings.{table}_embeddings.weight");
        let table = self.weights.tensor(&name, &[rows, self.architecture.hidden])?;
        self.weights_bytes += table.len_bytes();
        let constant = table.constant(&mut self.graph);
        let rows = self.graph.op("Gather", &[&constant, indices], &[]);
        Ok(table.cast(&mut self.graph, rows))
    }

    fn layer(&mut self, layer: usize, hidden: Edge) -> Result<Edge, NnError> {
        let (a, names) = (self.architecture, self.architecture.names);
        let name = |part: &str| format!("{}.{layer}.{part}", names.layer);
        let [query, key, value] = [names.query, names.key, names.value].map(name);
        let all = Linear::read(self.weights, &[&query, &key, &value], a.hidden, a.hidden)?;
        let all = self.linear(&all, &hidden, Range::Peaks(2 * layer))?;
        let attended = self.attention(&all);
        let output = Linear::read(self.weights, &[&name(names.attention_output)], a.hidden, a.hidden)?;
        let attended = self.linear(&output, &attended, Range::Symmetric)?;
        let sum = self.graph.op("Add", &[&attended, &hidden], &[]);
        let hidden = self.norm(&name(names.attention_norm), &sum)?;
        let wide = Linear::read(self.weights, &[&name(names.feed_forward_in)], a.hidden, a.intermediate)?;
        let wide = self.linear(&wide, &hidden, Range::Peaks(2 * layer + 1))?;
        let wide = self.activate(&wide);
        let narrow = Linear::read(self.weights, &[&name(names.feed_forward_out)], a.intermediate, a.hidden)?;
        let narrow = self.linear(&narrow, &wide, Range::above(a.activation))?;
        let sum = self.graph.op("Add", &[&narrow, &hidden], &[]);
        self.norm(&name(names.output_norm), &sum)
    }

    /// `[tokens, 3 * hidden]` to `[tokens, hidden]`: self-attention of every text with itself.
    fn attention(&mut self, all: &str) -> Edge {
        let head_size = self.architecture.hidden / self.architecture.heads;
        let graph = &mut self.graph;
        let by_head = graph.list("by_head", &[-1, head_size as i64]);
        let rows = graph.op("Reshape", &[all, &by_head], &[]);
        let [query, key, value] = [&self.rows.query, &self.rows.key, &self.rows.value]
            .map(|indices| graph.op("Gather", &[&rows, indices], &[]));
        let factor = 1.0 / (head_size as f32).sqrt();
        let settings = [("transB", Attribute::Int(1)), ("alpha", Attribute::Float(factor))];
        let scores = graph.own_op("FusedMatMul", &[&query, &key], &settings);
        let scores = graph.op("Add", &[&scores, "mask"], &[]);
        let shares = graph.op("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
        let mixed = graph.op("MatMul", &[&shares, &value], &[]);
        let mixed = graph.op("Reshape", &[&mixed, &by_head], &[]);
        let mixed = graph.op("Gather", &[&mixed, "token_rows"], &[]);
        let by_token = graph.list("by_token", &[-1, self.architecture.hidden as i64]);
        graph.op("Reshape", &[&mixed, &by_token], &[])
    }

    fn linear(&mut self, linear: &Linear, x: &str, range: Range) -> Result<Edge, NnError> {
        if let (Kind::Peaks, Range::Peaks(_)) = (self.kind, range) {
            let size = self.graph.op("Abs", &[x], &[]);
            let tokens = self.graph.list("tokens_axis", &[0]);
            self.peaks.push(self.graph.op("ReduceMax", &[&size, &tokens], &[]));
        }
        let (edge, bytes) = match self.kind {
            Kind::Full | Kind::Peaks => linear.full(&mut self.graph, x),
            Kind::Int8(peaks) => int8::linear(&mut self.graph, linear, x, range, peaks),
        };
        self.weights_bytes += bytes;
        Ok(edge)
    }

    fn activate(&mut self, x: &str) -> Edge {
        match self.architecture.activation {
            Activation::Gelu => self.graph.op("Gelu", &[x], &[]),
            // FastGelu is `Gelu` with `approximate="tanh"` as one operator.
            Activation::GeluTanh => self.graph.own_op("FastGelu", &[x], &[]),
            Activation::Relu => self.graph.op("Relu", &[x], &[]),
        }
    }

    /// Layer normalisation by `name.weight` and `name.bias`, or `name.gamma` and `name.beta`, as conversions from
    /// TensorFlow have them.
    fn norm(&mut self, name: &str, x: &str) -> Result<Edge, NnError> {
        let hidden = self.architecture.hidden;
        let old = self.weights.has(&format!("{name}.gamma"));
        let mut part = |part: &str| -> Result<Edge, NnError> {
            let stored: Stored = self.weights.tensor(&format!("{name}.{part}"), &[hidden])?;
            self.weights_bytes += stored.len_bytes();
            Ok(stored.constant_f32(&mut self.graph))
        };
        let (gain, bias) = if old { (part("gamma")?, part("beta")?) } else { (part("weight")?, part("bias")?) };
        let settings = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(self.architecture.norm_epsilon))];
        Ok(self.graph.op("LayerNormalization", &[x, &gain, &bias], &settings))
    }

    fn finish(mut self, hidden: &str) -> Written {
        let width = self.architecture.hidden as i64;
        if let Kind::Peaks = self.kind {
            let peaks: Vec<&str> = self.peaks.iter().map(String::as_str).collect();
            let peaks = self.graph.op("Concat", &peaks, &[("axis", Attribute::Int(0))]);
            self.graph.output("peaks", &peaks, Elem::F32, &[-1, width]);
        } else {
            self.graph.output("token_embeddings", hidden, Elem::F32, &[-1, width]);
        }
        let (model, external) = self.graph.into_model();
        Written { model, external, weights_bytes: self.weights_bytes }
    }
}
