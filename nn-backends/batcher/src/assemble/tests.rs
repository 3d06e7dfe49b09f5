//! Joining and parting are each other's inverse, along whichever axes.

use headland_nn_core::{Dim, Padding, TensorSpec};
use proptest::prelude::*;

use super::*;

fn spec(name: &str, dtype: DType, rank: usize) -> TensorSpec {
    TensorSpec::new(name, dtype, vec![Dim::Dynamic(None); rank])
}

/// `x` and a mask in, the same as `x` and one value a row out; batch and length along the given axes.
fn layout(rank: usize, batch: usize, length: Option<usize>) -> Layout {
    let signature = Signature {
        inputs: vec![spec("x", DType::I64, rank), spec("mask", DType::I64, rank).optional()],
        outputs: vec![spec("y", DType::I64, rank)],
    };
    let input = InputAxes { batch, length, pad: 0.0 };
    let axes = BatchAxes {
        inputs: vec![InputAxes { pad: -1.0, ..input }, input],
        outputs: vec![OutputAxes { batch, length }],
        padding: Padding::Computed,
        mask: Some(1),
    };
    Layout::new(&signature, axes).unwrap()
}

fn x(shape: &[usize], first: i64) -> NamedTensor {
    let count = shape.iter().product::<usize>() as i64;
    NamedTensor::new("x", Tensor::from_vec(shape, (first..first + count).collect()).unwrap())
}

fn values(tensor: &Tensor) -> Vec<i64> {
    tensor.to_slice::<i64>().unwrap().to_vec()
}

fn join(layout: &Layout, requests: &[Vec<NamedTensor>]) -> (Vec<NamedTensor>, Vec<Extents>) {
    let extents: Vec<Extents> = requests.iter().map(|inputs| layout.measure(inputs, &OutputSelection::All).0).collect();
    let parts: Vec<_> = requests.iter().zip(&extents).map(|(inputs, extents)| (&inputs[..], *extents)).collect();
    (layout.join(&parts).unwrap(), extents)
}

#[test]
fn shorter_requests_are_filled_up_and_a_mask_says_with_what() {
    let layout = layout(2, 0, Some(1));
    let (joined, _) = join(&layout, &[vec![x(&[1, 2], 10)], vec![x(&[2, 3], 20)]]);
    assert_eq!(values(&joined[0].tensor), [10, 11, -1, 20, 21, 22, 23, 24, 25]);
    assert_eq!((&*joined[1].name, values(&joined[1].tensor)), ("mask", vec![1, 1, 0, 1, 1, 1, 1, 1, 1]));
}

#[test]
fn a_mask_that_one_brought_is_kept_and_the_others_is_made_up() {
    let layout = layout(2, 0, Some(1));
    let mask = NamedTensor::new("mask", Tensor::from_vec([1, 2], vec![1i64, 0]).unwrap());
    let (joined, _) = join(&layout, &[vec![mask, x(&[1, 2], 10)], vec![x(&[1, 2], 20)]]);
    let [ids, mask] = &joined[..] else { panic!("{joined:?}") };
    assert_eq!((values(&ids.tensor), values(&mask.tensor)), (vec![10, 11, 20, 21], vec![1, 0, 1, 1]));
    let (joined, _) = join(&layout, &[vec![x(&[1, 2], 10)], vec![x(&[1, 2], 20)]]);
    assert_eq!(joined.len(), 1, "where nobody needs one there is none");
}

#[test]
fn kinds_differ_where_requests_cannot_meet() {
    let layout = layout(3, 0, Some(1));
    let kind = |inputs: &[NamedTensor]| layout.measure(inputs, &OutputSelection::All).1;
    let first = kind(&[x(&[2, 3, 4], 0)]);
    assert!(first.is_some());
    assert_eq!(first, kind(&[x(&[5, 1, 4], 0)]), "rows and lengths may differ");
    assert_ne!(first, kind(&[x(&[2, 3, 5], 0)]), "other axes may not");
    assert_ne!(first, layout.measure(&[x(&[2, 3, 4], 0)], &OutputSelection::Only(vec![])).1);
    let mask = |shape: [usize; 3]| {
        NamedTensor::new("mask", Tensor::from_vec(shape, vec![1i64; shape.iter().product()]).unwrap())
    };
    assert_eq!(first, kind(&[x(&[2, 3, 4], 0), mask([2, 3, 4])]));
    assert_eq!(kind(&[x(&[2, 3, 4], 0), mask([1, 3, 4])]), None, "inputs that disagree are for the executor to judge");
    assert_eq!(kind(&[x(&[0, 3, 4], 0)]), None);
}

#[test]
fn what_cannot_be_joined_is_an_error_and_nothing_else() {
    let layout = layout(3, 0, Some(1));
    let (a, b) = (vec![x(&[1, 2, 4], 0)], vec![x(&[1, 2, 5], 0)]);
    let extents = Extents { rows: 1, length: 2 };
    assert!(layout.join(&[(&a, extents), (&b, extents)]).is_err());
    assert!(layout.join(&[(&a, extents), (&a, Extents { rows: 2, length: 2 })]).is_err());
}

#[test]
fn outputs_of_another_extent_blame_the_package() {
    let layout = layout(2, 0, None);
    let output = [NamedTensor::new("y", Tensor::from_vec([1, 2], vec![1i64, 2]).unwrap())];
    let two = [Extents { rows: 1, length: 1 }; 2];
    let error = layout.part(&output, &two).unwrap_err().to_string();
    assert!(error.contains("output `y` is [1,2]: its batch axes are not what its package says"), "{error}");
}

#[test]
fn axes_that_do_not_fit_the_signature_are_refused_by_name() {
    let signature = Signature { inputs: vec![spec("x", DType::U8, 2)], outputs: vec![spec("y", DType::Bytes, 1)] };
    let axes = |batch, length, pad| BatchAxes {
        inputs: vec![InputAxes { batch, length, pad }],
        outputs: vec![OutputAxes { batch: 0, length: None }],
        padding: Padding::Computed,
        mask: None,
    };
    let refused = |signature: &Signature, axes| Layout::new(signature, axes).unwrap_err();
    assert!(refused(&signature, axes(2, None, 0.0)).starts_with("`x` has 2 axes"));
    assert!(refused(&signature, axes(0, Some(0), 0.0)).starts_with("`x` has 2 axes"));
    assert!(refused(&signature, axes(0, None, 0.0)).starts_with("`y` holds strings"));
    let numbers = Signature { outputs: vec![spec("y", DType::U8, 1)], ..signature };
    assert!(refused(&numbers, axes(0, Some(1), -1.0)).contains("cannot be padded with -1"));
    assert!(refused(&numbers, BatchAxes { outputs: vec![], ..axes(0, None, 0.0) }).contains("not every input"));
}

proptest! {
    #[test]
    fn what_was_joined_comes_apart_as_it_was(
        sizes in prop::collection::vec((1usize..4, 1usize..5), 1..6),
        rank in 2usize..4,
        axes in (0usize..3, 0usize..3),
        fixed in 1usize..4,
    ) {
        let (batch, length) = (axes.0 % rank, axes.1 % rank);
        let length = (length != batch).then_some(length);
        let layout = layout(rank, batch, length);
        let mut requests = Vec::new();
        for (index, (rows, long)) in sizes.into_iter().enumerate() {
            let mut shape = vec![fixed; rank];
            shape[batch] = rows;
            if let Some(length) = length {
                shape[length] = long;
            }
            requests.push(vec![x(&shape, index as i64 * 1_000)]);
        }
        let (joined, extents) = join(&layout, &requests);
        let output = [NamedTensor::new("y", joined[0].tensor.clone())];
        let parts = layout.part(&output, &extents).unwrap();
        for (request, part) in requests.iter().zip(parts) {
            prop_assert_eq!(&request[0].tensor, &part[0].tensor);
        }
    }

    #[test]
    fn rows_that_were_taken_out_come_together_in_their_places(
        rows in 1usize..9,
        batch in 0usize..2,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let layout = layout(2, batch, None);
        let shape = if batch == 0 { [rows, 3] } else { [3, rows] };
        let whole = x(&shape, 0);
        // Some order of the rows, cut anywhere.
        let mut order: Vec<usize> = (0..rows).collect();
        order.reverse();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(rows)).chain([0, rows]).collect();
        at.sort_unstable();
        at.dedup();
        let parts: Vec<Vec<usize>> = at.windows(2).map(|pair| order[pair[0]..pair[1]].to_vec()).collect();
        let done: Vec<(Vec<usize>, Vec<NamedTensor>)> = parts
            .into_iter()
            .map(|part| {
                let taken = layout.take_rows(std::slice::from_ref(&whole), &part).unwrap();
                (part, vec![NamedTensor::new("y", taken[0].tensor.clone())])
            })
            .collect();
        let together = layout.gather(&done, rows).unwrap();
        prop_assert_eq!(&together[0].tensor, &whole.tensor);
    }
}
