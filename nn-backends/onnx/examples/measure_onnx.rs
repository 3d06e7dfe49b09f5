//! Times a model's executors on made-up texts: `measure_onnx DIR [int8] [instances]`. `ORT_DYLIB_PATH` names the library.

use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

use headland_nn_core::{Backend, Executor, LoadOptions, NamedTensor, OutputSelection, Precision, Tensor};
use headland_onnx::{LibrarySearch, OnnxBackend};
use headland_package::folder;

/// How long each shape is measured.
const MEASURE: Duration = Duration::from_millis(900);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let dir = args.first().expect("usage: measure_onnx DIR [int8] [instances]");
    let precision = if args.iter().any(|arg| arg == "int8") { Precision::Int8 } else { Precision::Full };
    let instances = args.iter().find_map(|arg| arg.parse::<NonZeroUsize>().ok());
    let backend = OnnxBackend::open(&LibrarySearch::of_process(None)).expect("a library");
    let model = folder::open(dir.as_ref()).expect("a folder");
    println!("before the load: {}", resident());
    let begun = Instant::now();
    let options = LoadOptions { precision, instances, ..LoadOptions::default() };
    let mut executors = backend.load(&model, &options).expect("a model");
    println!("load {:?}: {}", begun.elapsed(), executors[0].describe().unwrap_or_default());
    println!("loaded: {}", resident());
    for (rows, longest, mixed) in
        [(1, 13, false), (8, 16, false), (32, 13, false), (1, 128, false), (32, 256, true), (8, 256, true)]
    {
        let inputs = texts(rows, longest, mixed);
        let (median, rate) = measure(&mut executors, &inputs);
        println!(
            "{rows}x{longest}{}: median {median:.2} ms, {:.0} sequences/s",
            if mixed { " mixed" } else { "" },
            rate * rows as f64
        );
    }
    println!("after the runs: {}", resident());
}

/// Texts of `longest` tokens each, or of lengths spread evenly over the logarithm from 8 on.
fn texts(rows: usize, longest: usize, mixed: bool) -> [NamedTensor; 2] {
    let ids = (0..rows * longest).map(|i| 1000 + (i as i64 * 37) % 20_000).collect();
    let length = |row: usize| match mixed {
        true => (8.0 * (longest as f64 / 8.0).powf((row * 7 % rows) as f64 / (rows - 1) as f64)) as usize,
        false => longest,
    };
    let mask = (0..rows * longest).map(|place| (place % longest < length(place / longest)).into()).collect();
    [("input_ids", ids), ("attention_mask", mask)].map(|(name, values): (&str, Vec<i64>)| {
        NamedTensor::new(name, Tensor::from_vec([rows, longest], values).expect("ids"))
    })
}

/// The median of a run in milliseconds, and runs a second, with all executors at work.
fn measure(executors: &mut [Box<dyn Executor>], inputs: &[NamedTensor]) -> (f64, f64) {
    let begun = Instant::now();
    let work = |executor: &mut Box<dyn Executor>| {
        let mut times = Vec::new();
        while begun.elapsed() < MEASURE || times.len() < 3 {
            let begun = Instant::now();
            executor.run(inputs, &OutputSelection::Only(vec![0])).expect("a run");
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        times
    };
    let mut times: Vec<f64> = thread::scope(|scope| {
        let workers: Vec<_> = executors.iter_mut().map(|executor| scope.spawn(|| work(executor))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], rate)
}

/// What the process has in memory, in all and without what is mapped from files.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    ["VmRSS", "RssAnon", "VmHWM"].map(field).join("; ").replace('\t', " ")
}
