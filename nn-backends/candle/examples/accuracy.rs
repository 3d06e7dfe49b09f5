//! How close 8 bits come to full precision: `accuracy DIR TEXTS`, where TEXTS holds one text a line.

use headland_candle::CandleBackend;
use headland_nn_core::{Backend, Executor, LoadOptions, NamedTensor, OutputSelection, Precision};
use headland_package::folder;
use headland_text::TextEncoder;

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(dir), Some(texts)) = (args.next(), args.next()) else { panic!("usage: accuracy DIR TEXTS") };
    let model = folder::open(dir.as_ref()).expect("a folder");
    let encoder = TextEncoder::open(&model).expect("a tokenizer").expect("a text model");
    let [mut full, mut int8] = [Precision::Full, Precision::Int8].map(|precision| {
        let options = LoadOptions { precision, ..LoadOptions::default() };
        CandleBackend::new().load(&model, &options).expect("a model").remove(0)
    });
    let texts = std::fs::read_to_string(texts).expect("texts");
    let mut cosines: Vec<(f64, usize, &str)> = texts
        .lines()
        .map(|text| {
            let inputs = encoder.encode(&[text]).expect("tokens").inputs(full.signature()).expect("tensors");
            let [exact, close] = [&mut full, &mut int8].map(|executor| embed(executor.as_mut(), &inputs));
            (cosine(&exact, &close), inputs[0].tensor.shape()[1], text)
        })
        .collect();
    cosines.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (cosine, tokens, text) in cosines.iter().take(5) {
        println!("{cosine:.5} {tokens} tokens {text:.60}");
    }
    let mean = cosines.iter().map(|(cosine, ..)| cosine).sum::<f64>() / cosines.len() as f64;
    println!("{} texts: least {:.5}, mean {mean:.5}", cosines.len(), cosines[0].0);
}

fn embed(executor: &mut dyn Executor, inputs: &[NamedTensor]) -> Vec<f32> {
    let outputs = executor.run(inputs, &OutputSelection::Only(vec![0])).expect("a run");
    outputs[0].tensor.to_slice::<f32>().expect("floats").into_owned()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
