//! Times the executors of a model alone, on batches of equal length: `measure_candle DIR`.

use std::time::Instant;

use headland_candle::CandleBackend;
use headland_nn_core::{
    Backend, Device, Executor, LoadOptions, ModelFiles, NamedTensor, OutputSelection, Precision, Tensor,
};
use headland_package::folder;

const SHAPES: [[usize; 2]; 5] = [[1, 13], [1, 128], [8, 16], [32, 13], [32, 16]];
const RUNS: usize = 40;

fn main() {
    let dir = std::env::args().nth(1).expect("usage: measure_candle DIR");
    let model = folder::open(dir.as_ref()).expect("a folder");
    for precision in [Precision::Full, Precision::Int8] {
        measure(&model, precision);
    }
}

fn measure(model: &ModelFiles, precision: Precision) {
    let begun = Instant::now();
    let options = LoadOptions { device: Device::Cpu, precision, instances: None };
    let mut executors = CandleBackend::new().load(model, &options).expect("a model");
    println!("{}: load {:?}", executors[0].describe().unwrap_or_default(), begun.elapsed());
    for shape in SHAPES {
        let alone = times(&mut executors[..1], shape);
        let together = times(&mut executors, shape);
        println!(
            "{shape:?}: alone median {:.2} ms, least {:.2}, {:.0} sequences/s; {} together {:.2}, {:.2}, {:.0}",
            alone[0].0,
            alone[0].1,
            rate(shape, &alone),
            together.len(),
            together[0].0,
            together[0].1,
            rate(shape, &together),
        );
    }
}

/// The median and least milliseconds of each executor, all at once, each on a thread of its own.
fn times(executors: &mut [Box<dyn Executor>], shape: [usize; 2]) -> Vec<(f64, f64)> {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            executors.iter_mut().map(|executor| scope.spawn(move || time(executor.as_mut(), shape))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

fn time(executor: &mut dyn Executor, shape: [usize; 2]) -> (f64, f64) {
    let ids: Vec<i64> = (0..shape[0] * shape[1]).map(|i| 1000 + (i as i64 * 37) % 20_000).collect();
    let inputs = [NamedTensor::new("input_ids", Tensor::from_vec(shape, ids).expect("ids"))];
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            executor.run(&inputs, &OutputSelection::Only(vec![0])).expect("a run");
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}

/// Sequences a second by the medians.
fn rate(shape: [usize; 2], times: &[(f64, f64)]) -> f64 {
    times.iter().map(|(median, _)| shape[0] as f64 * 1e3 / median).sum()
}
