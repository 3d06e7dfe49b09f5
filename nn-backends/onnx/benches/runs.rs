//! What a run costs: a tiny graph against ONNX Runtime's own interface, for what we add, and a text encoder at several
//! shapes on one thread. `ORT_DYLIB_PATH` names the library, `HEADLAND_CACHE` the folder with the fetched model.

use std::ffi::{CString, c_char};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::ptr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headland_nn_core::{Backend, Executor, LoadOptions, NamedTensor, OutputSelection, Precision, Tensor};
use headland_onnx::{LibrarySearch, OnnxBackend};
use headland_package::folder;
use ort::sys;

fn root() -> PathBuf {
    PathBuf::from("../..")
}

fn cache() -> PathBuf {
    std::env::var_os("HEADLAND_CACHE").map_or_else(|| root().join(".cache"), PathBuf::from)
}

fn backend() -> OnnxBackend {
    OnnxBackend::open(&LibrarySearch::of_process(Some(&cache().join("onnxruntime")))).expect("ONNX Runtime")
}

fn load(backend: &OnnxBackend, dir: &Path, precision: Precision) -> Box<dyn Executor> {
    let options = LoadOptions { precision, ..LoadOptions::default() };
    backend.load(&folder::open(dir).expect("a folder"), &options).expect("a model").remove(0)
}

fn tiny(criterion: &mut Criterion) {
    let backend = backend();
    let dir = root().join("models/digits");
    let mut executor = load(&backend, &dir, Precision::Full);
    let image = vec![0.5f32; 64];
    let inputs = [NamedTensor::new("image", Tensor::from_vec([1, 8, 8], image.clone()).expect("an image"))];
    let mut group = criterion.benchmark_group("digits");
    group.bench_function("executor", |bencher| {
        bencher.iter(|| executor.run(black_box(&inputs), &OutputSelection::All).expect("a run"));
    });
    let raw = Raw::new(&std::fs::read(dir.join("model.onnx")).expect("a graph"));
    group.bench_function("C interface", |bencher| bencher.iter(|| raw.run(black_box(&image))));
    group.finish();
}

/// The digits graph on the C interface, with as little around a run as it allows.
struct Raw {
    session: *mut sys::OrtSession,
    memory: *mut sys::OrtMemoryInfo,
}

fn check(status: sys::OrtStatusPtr) {
    // SAFETY: the status is one that the interface just returned.
    unsafe { ort::Error::result_from_status(status) }.expect("the C interface");
}

impl Raw {
    fn new(graph: &[u8]) -> Self {
        let api = ort::api();
        let name = CString::new("bench").expect("a name");
        let (mut env, mut options, mut session, mut memory) =
            (ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: all pointers are valid for the calls they are given to; what is made lives until the process ends.
        unsafe {
            check((api.CreateEnv)(sys::OrtLoggingLevel::ORT_LOGGING_LEVEL_ERROR, name.as_ptr(), &mut env));
            check((api.CreateSessionOptions)(&mut options));
            check((api.SetIntraOpNumThreads)(options, 1));
            check((api.CreateSessionFromArray)(env, graph.as_ptr().cast(), graph.len(), options, &mut session));
            check((api.CreateCpuMemoryInfo)(
                sys::OrtAllocatorType::OrtDeviceAllocator,
                sys::OrtMemType::OrtMemTypeDefault,
                &mut memory,
            ));
        }
        Raw { session, memory }
    }

    fn run(&self, image: &[f32]) -> f32 {
        let (api, shape) = (ort::api(), [1i64, 8, 8]);
        let (input, output): ([*const c_char; 1], [*const c_char; 1]) = ([c"image".as_ptr()], [c"logits".as_ptr()]);
        let (mut value, mut result, mut logits) = (ptr::null_mut(), [ptr::null_mut()], ptr::null_mut());
        // SAFETY: all pointers are valid for the calls they are given to, and lengths fit.
        unsafe {
            check((api.CreateTensorWithDataAsOrtValue)(
                self.memory,
                image.as_ptr().cast_mut().cast(),
                size_of_val(image),
                shape.as_ptr(),
                shape.len(),
                sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                &mut value,
            ));
            let values = [value.cast_const()];
            let run = (api.Run)(
                self.session,
                ptr::null(),
                input.as_ptr(),
                values.as_ptr(),
                1,
                output.as_ptr(),
                1,
                result.as_mut_ptr(),
            );
            check(run);
            check((api.GetTensorMutableData)(result[0], &mut logits));
            let first = *logits.cast::<f32>();
            (api.ReleaseValue)(result[0]);
            (api.ReleaseValue)(value);
            first
        }
    }
}

fn encoder(criterion: &mut Criterion) {
    let dir = cache().join("models/all-minilm-l6-v2");
    if !dir.exists() {
        eprintln!("skipped: {} is not there; scripts/fetch.sh brings it", dir.display());
        return;
    }
    for precision in [Precision::Full, Precision::Int8] {
        let mut executor = load(&backend(), &dir, precision);
        let mut group = criterion.benchmark_group(format!("minilm/{precision:?}"));
        group.sample_size(10);
        for (name, lengths) in [
            ("1x13", vec![13; 1]),
            ("8x16", vec![16; 8]),
            ("32x13", vec![13; 32]),
            ("16 of 8 to 256", (0..16).map(|text| (8.0 * 32f64.powf(f64::from(text) / 15.0)) as usize).collect()),
        ] {
            let inputs = texts(&lengths);
            group.throughput(Throughput::Elements(lengths.len() as u64));
            group.bench_function(name, |bencher| {
                bencher.iter(|| executor.run(black_box(&inputs), &OutputSelection::Only(vec![0])).expect("a run"));
            });
        }
        group.finish();
    }
}

/// Made-up texts of these lengths.
fn texts(lengths: &[usize]) -> [NamedTensor; 2] {
    let (rows, columns) = (lengths.len(), lengths.iter().copied().max().unwrap_or_default());
    let ids = (0..rows * columns).map(|place| 1000 + (place as i64 * 37) % 20_000).collect();
    let mask = (0..rows * columns).map(|place| (place % columns < lengths[place / columns]).into()).collect();
    [("input_ids", ids), ("attention_mask", mask)].map(|(name, values): (&str, Vec<i64>)| {
        NamedTensor::new(name, Tensor::from_vec([rows, columns], values).expect("as many as fit"))
    })
}

criterion_group!(benches, tiny, encoder);
criterion_main!(benches);
