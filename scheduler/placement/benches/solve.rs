//! The standard scenario from nothing, and after small changes.

use criterion::{Criterion, criterion_group, criterion_main};
use headland_placement::scenario::Scenario;
use headland_placement::{WhatIf, solve};

fn standard(criterion: &mut Criterion) {
    let input = Scenario::standard(1).input();
    let (plan, _) = solve(&input, None).expect("the standard scenario is sound");
    let mut group = criterion.benchmark_group("placement");
    group.sample_size(10);
    group.bench_function("from nothing", |bencher| bencher.iter(|| solve(&input, None)));
    for change in ["lose pop london1", "scale m0010:1 by 3", "scale m0500:1 by 3"] {
        let mut changed = input.clone();
        WhatIf::parse(change).and_then(|what| what.apply(&mut changed)).expect("the scenario has what is changed");
        group.bench_function(change, |bencher| bencher.iter(|| solve(&changed, Some(&plan))));
    }
    group.finish();
}

criterion_group!(benches, standard);
criterion_main!(benches);
