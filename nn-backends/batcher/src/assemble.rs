//! Requests to one run and back: tensors put side by side along their batch axes, and outputs cut apart again.
//!
//! Stands between the queue, which knows rows and lengths, and the executor, which sees one ordinary request. A request
//! that runs alone is not copied. Outputs whose batch axis is the outermost are views of what the executor gave.

mod block;

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use headland_nn_core::{
    BatchAxes, DType, InputAxes, NamedTensor, NnError, OutputAxes, OutputSelection, Padding, Shape, Signature, Tensor,
};

use block::Block;

/// A request's extents along the axes that batching is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extents {
    /// Along the batch axis.
    pub rows: usize,
    /// Along the length axis; 1 where there is none.
    pub length: usize,
}

/// Batch axes that were held against the signature they are for.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    signature: Signature,
    axes: BatchAxes,
}

impl Layout {
    /// # Errors
    /// What about `axes` cannot be for `signature`, for people.
    pub fn new(signature: &Signature, axes: BatchAxes) -> Result<Self, String> {
        let (inputs, outputs) = (&signature.inputs, &signature.outputs);
        if (axes.inputs.len(), axes.outputs.len()) != (inputs.len(), outputs.len()) {
            return Err("it names not every input and output once".to_owned());
        }
        let specs = inputs.iter().zip(axes.inputs.iter().map(|axes| (axes.batch, axes.length)));
        let specs = specs.chain(outputs.iter().zip(axes.outputs.iter().map(|axes| (axes.batch, axes.length))));
        for (spec, (batch, length)) in specs {
            let rank = spec.dims.len();
            if batch >= rank || length.is_some_and(|length| length >= rank || length == batch) {
                return Err(format!("`{}` has {rank} axes, counted from 0, and each axis one use", spec.name));
            }
            if spec.dtype == DType::Bytes {
                return Err(format!("`{}` holds strings, which are not put side by side", spec.name));
            }
        }
        for (spec, axes) in inputs.iter().zip(&axes.inputs) {
            if axes.length.is_some() && axes.pad_bytes(spec.dtype).is_none() {
                return Err(format!("`{}` cannot be padded with {}, for it holds {}", spec.name, axes.pad, spec.dtype));
            }
        }
        Ok(Layout { signature: signature.clone(), axes })
    }

    /// Whether any of the outputs at `wanted` is as long as the request.
    pub fn gives_lengths(&self, wanted: &OutputSelection) -> bool {
        self.axes.outputs.iter().enumerate().any(|(index, axes)| axes.length.is_some() && wanted.wants(index))
    }

    fn axes_of(&self, input: &NamedTensor) -> Option<(usize, InputAxes)> {
        let index = self.signature.inputs.iter().position(|spec| spec.name == *input.name)?;
        Some((index, *self.axes.inputs.get(index)?))
    }

    /// The extents of a request, and its kind: requests of equal kind may share a run. `None` for one that must run alone,
    /// because its inputs disagree; what is wrong with it the executor says best.
    pub fn measure(&self, inputs: &[NamedTensor], wanted: &OutputSelection) -> (Extents, Option<u64>) {
        let alone = (Extents { rows: 1, length: 1 }, None);
        // What holds nothing says nothing of its size: it must not become work for as many rows as it claims.
        if inputs.iter().any(|input| input.tensor.shape().contains(&0)) {
            return alone;
        }
        let (mut rows, mut length) = (None, None);
        let mut kind = DefaultHasher::new();
        for input in inputs {
            let Some((index, axes)) = self.axes_of(input) else { return alone };
            let shape = input.tensor.shape();
            let own_length = axes.length.map(|axis| shape.get(axis).copied());
            if *rows.get_or_insert(shape.get(axes.batch).copied()) != shape.get(axes.batch).copied()
                || own_length.is_some_and(|own| *length.get_or_insert(own) != own)
            {
                return alone;
            }
            // A mask that is left out is made up, so it does not part requests.
            if self.axes.mask != Some(index) {
                index.hash(&mut kind);
                let free = |axis: usize| axis == axes.batch || Some(axis) == axes.length;
                let fixed = shape.iter().enumerate().filter(|(axis, _)| !free(*axis));
                fixed.for_each(|(_, extent)| extent.hash(&mut kind));
            }
        }
        wanted.indices(self.signature.outputs.len()).hash(&mut kind);
        match (rows.flatten(), length.unwrap_or(Some(1))) {
            (Some(rows), Some(length)) if rows > 0 => (Extents { rows, length }, Some(kind.finish())),
            _ => alone,
        }
    }

    /// What running a request of these extents takes: padding that its mask leaves out is not counted where the executor skips
    /// it.
    pub fn cells(&self, inputs: &[NamedTensor], extents: Extents) -> usize {
        let whole = extents.rows.saturating_mul(extents.length);
        let Some(mask) = self.axes.mask.filter(|_| self.axes.padding == Padding::Skipped) else { return whole };
        let name = self.signature.inputs.get(mask).map(|spec| spec.name.as_str());
        let given = inputs.iter().find(|input| Some(&*input.name) == name);
        match given.map(|input| input.tensor.to_slice::<i64>()) {
            Some(Ok(mask)) => mask.iter().filter(|&&element| element != 0).count().clamp(1, whole.max(1)),
            _ => whole,
        }
    }

    /// Puts `requests` side by side, in order, filling the shorter ones up.
    ///
    /// # Errors
    /// When they do not fit together after all.
    pub fn join(&self, requests: &[(&[NamedTensor], Extents)]) -> Result<Vec<NamedTensor>, NnError> {
        let [(first, _), ..] = requests else { return Ok(Vec::new()) };
        let rows = requests.iter().map(|(_, extents)| extents.rows).sum();
        let longest = requests.iter().map(|(_, extents)| extents.length).max().unwrap_or(1);
        let whole = Extents { rows, length: longest };
        let padded = requests.iter().any(|(_, extents)| extents.length != longest);
        let mask = self.axes.mask.and_then(|mask| self.signature.inputs.get(mask)).map(|spec| spec.name.as_str());
        let is_mask = |input: &&NamedTensor| Some(&*input.name) == mask;
        let mut joined = Vec::with_capacity(first.len() + 1);
        for input in first.iter().filter(|input| !is_mask(input)) {
            let mut parts = Vec::with_capacity(requests.len());
            for (inputs, extents) in requests {
                let part = inputs.iter().find(|other| other.name == input.name);
                parts.push((part.ok_or_else(disagree)?.tensor.clone(), *extents));
            }
            joined.push(self.join_one(input, &parts, whole)?);
        }
        let Some(mask) = mask else { return Ok(joined) };
        let mut given = requests.iter().filter_map(|(inputs, _)| inputs.iter().find(is_mask));
        if given.next().is_some() || padded {
            joined.push(self.join_masks(mask, requests, whole)?);
        }
        Ok(joined)
    }

    fn join_masks(
        &self,
        mask: &str,
        requests: &[(&[NamedTensor], Extents)],
        whole: Extents,
    ) -> Result<NamedTensor, NnError> {
        let mut parts = Vec::with_capacity(requests.len());
        for (inputs, extents) in requests {
            let tensor = match inputs.iter().find(|input| *input.name == *mask) {
                Some(given) => given.tensor.clone(),
                None => self.mask_of_ones(mask, *extents)?,
            };
            parts.push((tensor, *extents));
        }
        let (first, _) = parts.first().ok_or_else(disagree)?;
        self.join_one(&NamedTensor::new(mask, first.clone()), &parts, whole)
    }

    fn mask_of_ones(&self, mask: &str, extents: Extents) -> Result<Tensor, NnError> {
        let index = self.signature.inputs.iter().position(|spec| spec.name == mask).ok_or_else(disagree)?;
        let (Some(spec), Some(axes)) = (self.signature.inputs.get(index), self.axes.inputs.get(index)) else {
            return Err(disagree());
        };
        let mut shape = vec![1; spec.dims.len()];
        for (axis, extent) in shape.iter_mut().enumerate() {
            match axis {
                _ if axis == axes.batch => *extent = extents.rows,
                _ if Some(axis) == axes.length => *extent = extents.length,
                _ => {}
            }
        }
        let one = InputAxes { pad: 1.0, ..*axes }.pad_bytes(spec.dtype).ok_or_else(disagree)?;
        let count = shape.iter().product();
        Ok(Tensor::new(spec.dtype, shape, one.repeat(count).into())?)
    }

    fn join_one(
        &self,
        input: &NamedTensor,
        parts: &[(Tensor, Extents)],
        whole: Extents,
    ) -> Result<NamedTensor, NnError> {
        let (_, axes) = self.axes_of(input).ok_or_else(disagree)?;
        let (dtype, size) = (input.tensor.dtype(), input.tensor.dtype().size().ok_or_else(disagree)?);
        let shape = resized(input.tensor.shape(), axes.batch, axes.length, whole).ok_or_else(disagree)?;
        let bytes = shape.iter().try_fold(size, |product, &extent| product.checked_mul(extent)).ok_or_else(disagree)?;
        let padded = axes.length.is_some() && parts.iter().any(|(_, extents)| extents.length != whole.length);
        let mut data = match axes.pad_bytes(dtype).filter(|pad| padded && pad.iter().any(|&byte| byte != 0)) {
            Some(pad) => pad.repeat(bytes / size),
            None => vec![0; bytes],
        };
        let mut row = 0;
        for (tensor, extents) in parts {
            let expected = resized(&shape, axes.batch, axes.length, *extents).ok_or_else(disagree)?;
            if **tensor.shape() != *expected || tensor.dtype() != dtype {
                return Err(disagree());
            }
            let block = Block { shape: &expected, whole: &shape, axis: axes.batch, at: row, size };
            block.for_each_run(|from, to| {
                if let (Some(to), Some(from)) = (data.get_mut(to), tensor.data().get(from)) {
                    to.copy_from_slice(from);
                }
            });
            row += extents.rows;
        }
        let tensor = Tensor::new(dtype, shape, Bytes::from(data))?;
        Ok(NamedTensor { name: input.name.clone(), tensor })
    }

    /// Cuts the outputs of a joined run apart: for each of `requests`, in order, its own.
    ///
    /// # Errors
    /// [`NnError::Runtime`] when the executor gave something of another extent than went in.
    pub fn part(&self, outputs: &[NamedTensor], requests: &[Extents]) -> Result<Vec<Vec<NamedTensor>>, NnError> {
        let whole = Extents {
            rows: requests.iter().map(|extents| extents.rows).sum(),
            length: requests.iter().map(|extents| extents.length).max().unwrap_or(1),
        };
        let axes: Vec<OutputAxes> =
            outputs.iter().map(|output| self.output_axes(output, whole)).collect::<Result<_, _>>()?;
        let mut row = 0;
        let mut parts = Vec::with_capacity(requests.len());
        for &extents in requests {
            let cut = outputs.iter().zip(&axes).map(|(output, axes)| cut(output, *axes, row, extents));
            parts.push(cut.collect::<Result<_, _>>()?);
            row += extents.rows;
        }
        Ok(parts)
    }

    fn output_axes(&self, output: &NamedTensor, whole: Extents) -> Result<OutputAxes, NnError> {
        let index = self.signature.outputs.iter().position(|spec| spec.name == *output.name);
        let axes = index.and_then(|index| self.axes.outputs.get(index)).ok_or_else(|| unlike(output, whole))?;
        let shape = output.tensor.shape();
        let rows_fit = shape.get(axes.batch) == Some(&whole.rows);
        let length_fits = axes.length.is_none_or(|axis| shape.get(axis) == Some(&whole.length));
        (rows_fit && length_fits).then_some(*axes).ok_or_else(|| unlike(output, whole))
    }

    /// The rows `rows` of a request, in that order, as a request of its own.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub fn take_rows(&self, inputs: &[NamedTensor], rows: &[usize]) -> Result<Vec<NamedTensor>, NnError> {
        let one = |input: &NamedTensor| {
            let (_, axes) = self.axes_of(input).ok_or_else(disagree)?;
            let tensor = scatter(
                &[(&input.tensor, rows.iter().copied().enumerate().map(|(to, from)| (from, to)))],
                axes.batch,
                rows.len(),
            )?;
            Ok(NamedTensor { name: input.name.clone(), tensor })
        };
        inputs.iter().map(one).collect()
    }

    /// Puts the outputs of the parts of one request together again: `parts` are its rows by position, each with what came
    /// out for them. None of the outputs has a length axis.
    ///
    /// # Errors
    /// [`NnError::Runtime`] when the parts do not fit together.
    pub fn gather(&self, parts: &[(Vec<usize>, Vec<NamedTensor>)], rows: usize) -> Result<Vec<NamedTensor>, NnError> {
        let Some((_, first)) = parts.first() else { return Ok(Vec::new()) };
        let one = |(position, output): (usize, &NamedTensor)| {
            let index =
                self.signature.outputs.iter().position(|spec| spec.name == *output.name).ok_or_else(disagree)?;
            let axes = self.axes.outputs.get(index).ok_or_else(disagree)?;
            let mut tensors = Vec::with_capacity(parts.len());
            for (own, outputs) in parts {
                let output = outputs.get(position).ok_or_else(disagree)?;
                tensors.push((&output.tensor, own.iter().copied().enumerate()));
            }
            Ok(NamedTensor { name: output.name.clone(), tensor: scatter(&tensors, axes.batch, rows)? })
        };
        first.iter().enumerate().map(one).collect()
    }
}

/// A tensor of `rows` along `axis`, made of rows of others: for each, pairs of a row there and its place here.
fn scatter(
    parts: &[(&Tensor, impl Iterator<Item = (usize, usize)> + Clone)],
    axis: usize,
    rows: usize,
) -> Result<Tensor, NnError> {
    let [(first, _), ..] = parts else { return Err(disagree()) };
    let (dtype, size) = (first.dtype(), first.dtype().size().ok_or_else(disagree)?);
    let shape = resized(first.shape(), axis, None, Extents { rows, length: 1 }).ok_or_else(disagree)?;
    // Seen as [outer, rows, inner], whatever stands before and after the axis.
    let outer: usize = shape.iter().take(axis).product();
    let inner: usize = shape.iter().skip(axis + 1).product::<usize>() * size;
    let mut data = vec![0; outer * rows * inner];
    for (tensor, pairs) in parts {
        let count = tensor.shape().get(axis).copied().unwrap_or(0);
        let expected = resized(&shape, axis, None, Extents { rows: count, length: 1 }).ok_or_else(disagree)?;
        if **tensor.shape() != *expected || tensor.dtype() != dtype {
            return Err(disagree());
        }
        for (from, to) in pairs.clone() {
            for block in 0..outer {
                let (from, to) = ((block * count + from) * inner, (block * rows + to) * inner);
                if let (Some(to), Some(from)) = (data.get_mut(to..to + inner), tensor.data().get(from..from + inner)) {
                    to.copy_from_slice(from);
                }
            }
        }
    }
    Ok(Tensor::new(dtype, shape, Bytes::from(data))?)
}

fn cut(output: &NamedTensor, axes: OutputAxes, row: usize, extents: Extents) -> Result<NamedTensor, NnError> {
    let whole = output.tensor.shape();
    let shape = resized(whole, axes.batch, axes.length, extents).ok_or_else(disagree)?;
    let size = output.tensor.dtype().size().ok_or_else(disagree)?;
    let block = Block { shape: &shape, whole, axis: axes.batch, at: row, size };
    let mut runs = Vec::new();
    block.for_each_run(|_, from| runs.push(from));
    let source = output.tensor.data();
    let data = match runs.as_slice() {
        [] => Bytes::new(),
        [one] => source.slice(one.clone()),
        several => Bytes::from(
            several.iter().filter_map(|run| source.get(run.clone())).flatten().copied().collect::<Vec<u8>>(),
        ),
    };
    Ok(NamedTensor { name: output.name.clone(), tensor: Tensor::new(output.tensor.dtype(), shape, data)? })
}

/// `shape` with other extents along its batch and length axes.
fn resized(shape: &[usize], batch: usize, length: Option<usize>, extents: Extents) -> Option<Shape> {
    let mut shape = shape.to_vec();
    *shape.get_mut(batch)? = extents.rows;
    if let Some(length) = length {
        *shape.get_mut(length)? = extents.length;
    }
    Some(shape.into())
}

fn disagree() -> NnError {
    NnError::runtime("requests that were to share a run do not fit together")
}

fn unlike(output: &NamedTensor, whole: Extents) -> NnError {
    NnError::runtime(format!(
        "{} rows of length {} went into the model together, and output `{}` is {}: its batch axes are not what its package \
         says they are",
        whole.rows,
        whole.length,
        output.name,
        output.tensor.shape()
    ))
}

#[cfg(test)]
mod tests;
