//! The kernels at the shapes of MiniLM, on one thread. Products are counted in multiplications and additions: Gelem/s are
//! GFLOP/s.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use headland_kernels::{Activation, Attention, AttentionScratch, LayerNorm, Level, Linear, LinearScratch, Team};

const HIDDEN: usize = 384;
const WIDE: usize = 1536;
const HEADS: usize = 12;

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7919 % 1000) as f32 / 1000.0 - 0.5).collect()
}

fn products(criterion: &mut Criterion) {
    let mut team = Team::alone();
    for (level, int8) in Level::available().flat_map(|level| [false, true].map(|int8| (level, int8))) {
        let mut group = criterion.benchmark_group(format!("product/{level}/{}", if int8 { "int8" } else { "f32" }));
        for [inputs, outputs] in [[HIDDEN, 3 * HIDDEN], [HIDDEN, HIDDEN], [HIDDEN, WIDE], [WIDE, HIDDEN]] {
            let (weights, bias) = (numbers(inputs * outputs), numbers(outputs));
            let linear = match int8 {
                true => Linear::int8(level, &weights, inputs, &bias, &[]),
                false => Linear::full(level, &weights, inputs, &bias),
            };
            for rows in [1, 13, 128, 416] {
                let (x, mut out, mut scratch) =
                    (numbers(rows * inputs), vec![0.0; rows * outputs], LinearScratch::default());
                group.throughput(Throughput::Elements((2 * rows * inputs * outputs) as u64));
                group.bench_function(BenchmarkId::new(format!("{inputs}x{outputs}"), rows), |bencher| {
                    bencher.iter(|| linear.map(black_box(&x), &mut out, &mut scratch, &mut team));
                });
            }
        }
    }
}

fn gelu(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gelu");
    let linear = Linear::full(Level::best(), &numbers(HIDDEN * WIDE), HIDDEN, &numbers(WIDE));
    let mut team = Team::alone();
    let (x, mut out, mut scratch) = (numbers(128 * HIDDEN), vec![0.0; 128 * WIDE], LinearScratch::default());
    group.throughput(Throughput::Elements((2 * 128 * HIDDEN * WIDE) as u64));
    group.bench_function("after a product", |bencher| {
        bencher.iter(|| linear.map_activated(black_box(&x), Activation::Gelu, &mut out, &mut scratch, &mut team));
    });
}

fn attention(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    for tokens in [13, 16, 128, 512] {
        let attention = Attention::new(Level::best(), HEADS, HIDDEN / HEADS);
        let (parts, mut out) = (numbers(tokens * 3 * HIDDEN), vec![0.0; tokens * HIDDEN]);
        let mut scratch = AttentionScratch::default();
        group.throughput(Throughput::Elements((4 * tokens * tokens * HIDDEN) as u64));
        group.bench_function(BenchmarkId::from_parameter(tokens), |bencher| {
            bencher.iter(|| attention.attend(black_box(&parts), &mut out, &mut scratch));
        });
    }
}

fn layer_norm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layer norm");
    let norm = LayerNorm::new(Level::best(), numbers(HIDDEN), numbers(HIDDEN), 1e-12);
    let mut x = numbers(128 * HIDDEN);
    group.throughput(Throughput::Elements(x.len() as u64));
    group.bench_function("128 rows", |bencher| bencher.iter(|| norm.apply(black_box(&mut x))));
}

criterion_group!(benches, products, gelu, attention, layer_norm);
criterion_main!(benches);
