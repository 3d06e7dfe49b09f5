//! Building an ONNX graph in memory, for models that come as bare weights.
//!
//! Field numbers: <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.

use std::collections::BTreeSet;

use ort::value::TensorElementType;

use crate::external::ExternalTensor;
use crate::proto::Message;

/// The version of the operators of ONNX itself: the first with `Gelu`.
const OPERATORS: i64 = 20;
/// The version of the file format that belongs to it.
const FORMAT: i64 = 9;
/// Where ONNX Runtime keeps operators of its own.
const OWN_DOMAIN: &str = "com.microsoft";

/// An element type, by its number in the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elem {
    F32 = 1,
    U8 = 2,
    I8 = 3,
    I32 = 6,
    I64 = 7,
    F16 = 10,
    Bf16 = 16,
}

impl From<Elem> for TensorElementType {
    fn from(elem: Elem) -> Self {
        match elem {
            Elem::F32 => TensorElementType::Float32,
            Elem::U8 => TensorElementType::Uint8,
            Elem::I8 => TensorElementType::Int8,
            Elem::I32 => TensorElementType::Int32,
            Elem::I64 => TensorElementType::Int64,
            Elem::F16 => TensorElementType::Float16,
            Elem::Bf16 => TensorElementType::Bfloat16,
        }
    }
}

/// A setting of an operator.
pub(crate) enum Attribute {
    Int(i64),
    Float(f32),
}

/// What flows from operator to operator, by name.
pub(crate) type Edge = String;

/// A graph in the making.
#[derive(Default)]
pub(crate) struct Graph {
    graph: Message,
    named: BTreeSet<Edge>,
    operators: usize,
    external: Vec<ExternalTensor>,
}

impl Graph {
    /// An input; `-1` stands for a dynamic extent.
    pub fn input(&mut self, name: &str, elem: Elem, dims: &[i64]) -> Edge {
        self.field(11, value_info(name, elem, dims));
        name.to_owned()
    }

    /// Makes `edge` the output called `name`.
    pub fn output(&mut self, name: &str, edge: &str, elem: Elem, dims: &[i64]) {
        self.node("Identity", "", &[edge], &[], name);
        self.field(12, value_info(name, elem, dims));
    }

    /// The result of an operator of ONNX.
    pub fn op(&mut self, operator: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> Edge {
        let output = self.next_edge();
        self.node(operator, "", inputs, attributes, &output);
        output
    }

    /// The result of an operator that only ONNX Runtime has.
    pub fn own_op(&mut self, operator: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> Edge {
        let output = self.next_edge();
        self.node(operator, OWN_DOMAIN, inputs, attributes, &output);
        output
    }

    /// `edge` as another element type.
    pub fn cast(&mut self, edge: &str, elem: Elem) -> Edge {
        self.op("Cast", &[edge], &[("to", Attribute::Int(elem as i64))])
    }

    /// A constant whose bytes are in the graph. One of the same name is the same one.
    pub fn constant(&mut self, name: &str, elem: Elem, dims: &[usize], bytes: &[u8]) -> Edge {
        self.initializer(name, elem, dims, |tensor| tensor.bytes(9, bytes))
    }

    /// A constant of one number.
    pub fn scalar(&mut self, name: &str, value: f32) -> Edge {
        self.constant(name, Elem::F32, &[], &value.to_le_bytes())
    }

    /// A constant list of whole numbers.
    pub fn list(&mut self, name: &str, values: &[i64]) -> Edge {
        self.constant(name, Elem::I64, &[values.len()], bytemuck::cast_slice(values))
    }

    /// A constant whose bytes lie in the file beside the graph, from `offset` on, aligned for its type.
    pub fn external(&mut self, name: &str, elem: Elem, dims: &[usize], offset: usize, length: usize) -> Edge {
        const EXTERNAL: i64 = 1;
        // ONNX Runtime takes the tensor by its name; a place must be there all the same.
        let place = Message::default().bytes(1, "location").bytes(2, "-");
        if !self.named.contains(name) {
            let (name, shape) = (name.to_owned(), dims.to_vec());
            self.external.push(ExternalTensor { name, ty: elem.into(), shape, offset, length });
        }
        self.initializer(name, elem, dims, |tensor| tensor.message(13, place).int(14, EXTERNAL))
    }

    /// The model, as its file would be, and what it has beside it.
    pub fn into_model(self) -> (Vec<u8>, Vec<ExternalTensor>) {
        let operators = |domain: &str, version| Message::default().bytes(1, domain).int(2, version);
        let model = Message::default()
            .int(1, FORMAT)
            .bytes(2, "headland")
            .message(8, operators("", OPERATORS))
            .message(8, operators(OWN_DOMAIN, 1))
            .message(7, self.graph.bytes(2, "encoder"));
        (model.into_bytes(), self.external)
    }

    fn initializer(&mut self, name: &str, elem: Elem, dims: &[usize], data: impl FnOnce(Message) -> Message) -> Edge {
        if self.named.insert(name.to_owned()) {
            let dims = dims.iter().map(|&extent| i64::try_from(extent).unwrap_or(i64::MAX));
            let tensor = Message::default().each(dims, |tensor, extent| tensor.int(1, extent));
            self.field(5, data(tensor.int(2, elem as i64).bytes(8, name)));
        }
        name.to_owned()
    }

    fn node(&mut self, operator: &str, domain: &str, inputs: &[&str], settings: &[(&str, Attribute)], output: &str) {
        const FLOAT: i64 = 1;
        const INT: i64 = 2;
        let attribute = |(name, value): &(&str, Attribute)| {
            let named = Message::default().bytes(1, name);
            match *value {
                Attribute::Float(value) => named.float(2, value).int(20, FLOAT),
                Attribute::Int(value) => named.int(3, value).int(20, INT),
            }
        };
        let node = Message::default()
            .each(inputs, |node, input| node.bytes(1, input))
            .bytes(2, output)
            .bytes(4, operator)
            .each(settings, |node, setting| node.message(5, attribute(setting)))
            .bytes(7, domain);
        self.field(1, node);
    }

    fn next_edge(&mut self) -> Edge {
        self.operators += 1;
        format!("edge_{}", self.operators)
    }

    fn field(&mut self, number: u64, value: Message) {
        self.graph = std::mem::take(&mut self.graph).message(number, value);
    }
}

fn value_info(name: &str, elem: Elem, dims: &[i64]) -> Message {
    // An extent that is neither number nor name is dynamic.
    let dim = |extent: i64| if extent < 0 { Message::default() } else { Message::default().int(1, extent) };
    let shape = Message::default().each(dims, |shape, &extent| shape.message(1, dim(extent)));
    let tensor = Message::default().int(1, elem as i64).message(2, shape);
    Message::default().bytes(1, name).message(2, Message::default().message(1, tensor))
}
