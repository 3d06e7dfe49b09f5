//! What preprocessing costs, step by step. Native: `cargo bench -p preprocess --target host-tuple`. As a guest runs it:
//! build it for `wasm32-wasip2` and run it with `wasmtime run`. The ratio of the two is what a guest pays.
//!
//! The picture is made here, from a seed: smooth colours with noise on them, which compress like a photograph.

use std::time::Instant;

use preprocess::{decode, normalise, resize, tensor};

const WIDTH: u16 = 640;
const HEIGHT: u16 = 480;
const REPETITIONS: usize = 300;

fn main() {
    let jpeg = picture();
    let pixels = decode(&jpeg).expect("a sound picture");
    let small = resize(&pixels).expect("a sound picture");
    println!("{WIDTH}x{HEIGHT} JPEG of {} KiB, medians in microseconds", jpeg.len() >> 10);
    report("decode", || decode(&jpeg).map(drop));
    report("resize", || resize(&pixels).map(drop));
    report("normalise", || normalise(&small));
    report("all", || tensor(&jpeg).map(drop));
}

fn report<T>(what: &str, mut step: impl FnMut() -> T) {
    let mut took: Vec<u128> = (0..REPETITIONS)
        .map(|_| {
            let started = Instant::now();
            std::hint::black_box(step());
            started.elapsed().as_nanos()
        })
        .collect();
    took.sort_unstable();
    println!("{what:10} {:8.1}", took[REPETITIONS / 2] as f64 / 1e3);
}

fn picture() -> Vec<u8> {
    let mut seed = 0x9e37_79b9_u32;
    let mut noise = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        (seed >> 28) as u8
    };
    let mut rgb = Vec::with_capacity(usize::from(WIDTH) * usize::from(HEIGHT) * 3);
    for y in 0..u32::from(HEIGHT) {
        for x in 0..u32::from(WIDTH) {
            let (wave, ramp) = (((x * x / 97 + y * 3) % 200) as u8, ((x + y * 2) / 8 % 220) as u8);
            rgb.extend([wave + noise(), ramp + noise(), (wave / 2) + (ramp / 3) + noise()]);
        }
    }
    let mut jpeg = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut jpeg, 85);
    encoder.encode(&rgb, WIDTH, HEIGHT, jpeg_encoder::ColorType::Rgb).expect("a picture of this size");
    jpeg
}
