//! A session's inputs and outputs in our vocabulary.

use headland_nn_core::{DType, Dim, Signature, TensorSpec};
use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

/// The signature of `session`, or what in it we cannot carry.
///
/// ONNX Runtime does not tell a tensor of unknown rank from a scalar; it appears as a scalar here.
pub(crate) fn of_session(session: &Session) -> Result<Signature, String> {
    let specs = |kind: &str, outlets: &[Outlet]| -> Result<Vec<TensorSpec>, String> {
        outlets.iter().map(|outlet| spec(kind, outlet.name(), outlet.dtype())).collect()
    };
    Ok(Signature { inputs: specs("input", session.inputs())?, outputs: specs("output", session.outputs())? })
}

fn spec(kind: &str, name: &str, value: &ValueType) -> Result<TensorSpec, String> {
    let ValueType::Tensor { ty, shape, dimension_symbols } = value else {
        return Err(format!("{kind} `{name}` is a {value}; only tensors are supported"));
    };
    if name.is_empty() {
        return Err(format!("an {kind} of the graph has no name"));
    }
    let dtype = dtype(*ty).ok_or_else(|| format!("{kind} `{name}` holds {ty}, which is not supported"))?;
    let symbols = dimension_symbols.iter().map(Some).chain(std::iter::repeat(None));
    let dims = shape.iter().zip(symbols).map(|(&extent, symbol)| match usize::try_from(extent) {
        Ok(extent) => Dim::Fixed(extent),
        Err(_) => Dim::Dynamic(symbol.filter(|name| !name.is_empty()).cloned()),
    });
    Ok(TensorSpec::new(name, dtype, dims.collect()))
}

/// Our name of an ONNX element type; `None` for complex numbers and those under 16 bits that no protocol of ours carries.
pub(crate) fn dtype(ty: TensorElementType) -> Option<DType> {
    Some(match ty {
        TensorElementType::Bool => DType::Bool,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Uint16 => DType::U16,
        TensorElementType::Uint32 => DType::U32,
        TensorElementType::Uint64 => DType::U64,
        TensorElementType::Int8 => DType::I8,
        TensorElementType::Int16 => DType::I16,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Float16 => DType::F16,
        TensorElementType::Bfloat16 => DType::BF16,
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::String => DType::Bytes,
        _ => return None,
    })
}

/// ONNX's name of our element type.
pub(crate) fn element_type(dtype: DType) -> TensorElementType {
    match dtype {
        DType::Bool => TensorElementType::Bool,
        DType::U8 => TensorElementType::Uint8,
        DType::U16 => TensorElementType::Uint16,
        DType::U32 => TensorElementType::Uint32,
        DType::U64 => TensorElementType::Uint64,
        DType::I8 => TensorElementType::Int8,
        DType::I16 => TensorElementType::Int16,
        DType::I32 => TensorElementType::Int32,
        DType::I64 => TensorElementType::Int64,
        DType::F16 => TensorElementType::Float16,
        DType::BF16 => TensorElementType::Bfloat16,
        DType::F32 => TensorElementType::Float32,
        DType::F64 => TensorElementType::Float64,
        DType::Bytes => TensorElementType::String,
    }
}

#[cfg(test)]
mod tests {
    use ort::value::{Shape, SymbolicDimensions};

    use super::*;

    fn tensor(ty: TensorElementType, dims: &[i64], symbols: &[&str]) -> ValueType {
        let dimension_symbols = SymbolicDimensions::new(symbols.iter().map(|s| (*s).to_owned()));
        ValueType::Tensor { ty, shape: Shape::new(dims.iter().copied()), dimension_symbols }
    }

    #[test]
    fn every_type_has_its_counterpart() {
        assert!(DType::ALL.into_iter().all(|ours| dtype(element_type(ours)) == Some(ours)));
    }

    #[test]
    fn symbols_name_dynamic_axes() {
        let value = tensor(TensorElementType::Int64, &[-1, 3, -1], &["batch", "", ""]);
        assert_eq!(spec("input", "ids", &value).unwrap().to_string(), "ids INT64[batch,3,?]");
    }

    #[test]
    fn what_cannot_be_carried_is_named() {
        let complex = tensor(TensorElementType::Complex64, &[1], &[""]);
        assert!(spec("output", "spectrum", &complex).unwrap_err().starts_with("output `spectrum` holds"));
        let sequence = ValueType::Sequence(Box::new(complex));
        assert!(spec("input", "frames", &sequence).unwrap_err().starts_with("input `frames` is a Sequence"));
    }
}
