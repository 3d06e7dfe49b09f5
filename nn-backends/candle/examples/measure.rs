//! Times the executor alone on batches of equal length: `measure DIR`; `RAYON_NUM_THREADS` says on how many threads.

use std::time::Instant;

use headland_candle::{CandleBackend, run_each_model_on_one_thread};
use headland_nn_core::{Backend, Device, LoadOptions, NamedTensor, OutputSelection, Tensor};
use headland_package::folder;

fn main() {
    // SAFETY: nothing else runs yet.
    unsafe { run_each_model_on_one_thread() };
    let dir = std::env::args().nth(1).expect("usage: measure DIR");
    let begun = Instant::now();
    let model = folder::open(dir.as_ref()).expect("a folder");
    let mut executors = CandleBackend::new().load(&model, &LoadOptions::one_on(Device::Cpu)).expect("a model");
    let executor = &mut executors[0];
    println!("load {:?}", begun.elapsed());
    for shape in [[1, 13], [1, 128], [8, 16], [32, 13], [32, 16]] {
        let ids: Vec<i64> = (0..shape[0] * shape[1]).map(|i| 1000 + (i as i64 * 37) % 20_000).collect();
        let inputs = [NamedTensor::new("input_ids", Tensor::from_vec(shape, ids).expect("ids"))];
        let mut times: Vec<f64> = (0..30)
            .map(|_| {
                let begun = Instant::now();
                executor.run(&inputs, &OutputSelection::Only(vec![0])).expect("a run");
                begun.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        println!(
            "{shape:?}: median {median:.2} ms, least {:.2}, {:.0} sequences/s",
            times[0],
            shape[0] as f64 * 1e3 / median
        );
    }
}
