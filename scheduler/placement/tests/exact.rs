//! Small cases against their exact optimum, found by a mixed-integer program that shares no code with the solver.

mod common;

use common::{Size, fleet};
use headland_placement::*;
use microlp::{ComparisonOp, OptimizationDirection, Problem, Variable};

const CASES: u64 = 200;

/// The best objective that any plan can have.
fn optimum(input: &Input) -> f64 {
    let mut lp = Problem::new(OptimizationDirection::Minimize);
    let options = &input.options;
    let devices: Vec<(&Pop, &PopDevice)> =
        input.pops.iter().flat_map(|pop| pop.devices.iter().map(move |device| (pop, device))).collect();
    let mut memory: Vec<Vec<(Variable, f64)>> = vec![Vec::new(); devices.len()];
    let mut time: Vec<Vec<(Variable, f64)>> = vec![Vec::new(); devices.len()];
    for spec in &input.models {
        let rates = &input.demand.iter().find(|demand| demand.model == spec.key).unwrap().rates;
        let rates: Vec<_> = rates.iter().filter(|rate| rate.requests_per_s > 0.0).collect();
        let mut held: Vec<Option<Variable>> = Vec::new();
        for (at, (pop, device)) in devices.iter().enumerate() {
            let gib = spec.memory.cpu_bytes.unwrap() as f64 / (1u64 << 30) as f64;
            let barred = spec.residency.as_ref().is_some_and(|regions| !regions.contains(&pop.region))
                || (spec.accelerator == Accelerator::Required && device.class.as_str() != "gpu");
            held.push((!barred).then(|| {
                let held = lp.add_binary_var(gib * (device.price_per_gib + options.load_price_per_gib));
                memory[at].push((held, gib));
                held
            }));
        }
        for rate in rates.iter() {
            let unserved = lp.add_var(spec.value * options.fallback_ms, (0.0, f64::INFINITY));
            let mut served = vec![(unserved, 1.0)];
            for (at, (pop, device)) in devices.iter().enumerate() {
                let Some(held) = held[at] else { continue };
                let cost = spec.costs.iter().find(|cost| cost.class == device.class).unwrap();
                let waiting = 1.0 + options.utilisation_max / (2.0 * (1.0 - options.utilisation_max));
                let compute_ms = (cost.fixed_us + cost.per_request_us) / 1e3 * waiting;
                let ms = round_trip_ms(input, &rate.place, &pop.place) + compute_ms;
                let flow = lp.add_var(spec.value * ms, (0.0, f64::INFINITY));
                lp.add_constraint([(flow, 1.0), (held, -rate.requests_per_s)], ComparisonOp::Le, 0.0);
                time[at].push((flow, cost.fixed_us / f64::from(cost.batch) + cost.per_request_us));
                served.push((flow, 1.0));
            }
            lp.add_constraint(served, ComparisonOp::Eq, rate.requests_per_s);
        }
        if !(spec.replicas.scale_to_zero && rates.is_empty()) {
            minimum(&mut lp, spec, options, &devices, &held);
        }
    }
    for (at, (_, device)) in devices.iter().enumerate() {
        let gib = device.memory_bytes as f64 / (1u64 << 30) as f64;
        lp.add_constraint(memory[at].as_slice(), ComparisonOp::Le, gib);
        lp.add_constraint(time[at].as_slice(), ComparisonOp::Le, options.utilisation_max * 1e6);
    }
    lp.solve().unwrap().objective()
}

fn minimum(
    lp: &mut Problem,
    spec: &ModelSpec,
    options: &Options,
    devices: &[(&Pop, &PopDevice)],
    held: &[Option<Variable>],
) {
    let lacking = lp.add_var(options.shortfall_price, (0.0, f64::INFINITY));
    let replicas = held.iter().flatten().map(|&held| (held, 1.0)).chain([(lacking, 1.0)]);
    lp.add_constraint(replicas.collect::<Vec<_>>(), ComparisonOp::Ge, f64::from(spec.replicas.min));
    let mut domains: Vec<&FailureDomain> = devices.iter().map(|(pop, _)| &pop.failure_domain).collect();
    domains.sort();
    domains.dedup();
    let mut reached = vec![(lp.add_var(options.shortfall_price, (0.0, f64::INFINITY)), 1.0)];
    for domain in domains {
        let inside = lp.add_var(0.0, (0.0, 1.0));
        let there = devices.iter().zip(held).filter(|((pop, _), _)| &pop.failure_domain == domain);
        let there = there.filter_map(|(_, held)| held.map(|held| (held, -1.0)));
        lp.add_constraint(there.chain([(inside, 1.0)]).collect::<Vec<_>>(), ComparisonOp::Le, 0.0);
        reached.push((inside, 1.0));
    }
    lp.add_constraint(reached, ComparisonOp::Ge, f64::from(spec.replicas.domains_min));
}

fn round_trip_ms(input: &Input, from: &PlaceId, to: &PlaceId) -> f64 {
    let at = |id: &PlaceId| input.places.iter().find(|place| &place.id == id).unwrap().location;
    if from == to { input.latency.local_ms } else { input.latency.estimate_ms(at(from), at(to)) }
}

#[test]
fn small_cases_come_within_a_hundredth_of_their_optimum_on_average_and_no_bound_lies_above_it() {
    let (mut total, mut worst, mut exact) = (0.0, (0.0f64, 0), 0);
    for seed in 0..CASES {
        let rng = &mut Rng::new(seed);
        let size = Size { places: 2 + rng.below(2), pops: 3 + rng.below(3), models: 2 + rng.below(3) };
        let input = fleet(seed, &size);
        let (plan, report) = solve(&input, None).unwrap();
        check(&input, None, &plan).unwrap();
        let best = optimum(&input);
        let found = report.cost.total();
        assert!(found >= best * (1.0 - 1e-6), "seed {seed}: {found} is below the optimum {best}");
        assert!(report.lower_bound <= best * (1.0 + 1e-6), "seed {seed}: the bound {} > {best}", report.lower_bound);
        let above = found / best - 1.0;
        total += above;
        exact += u64::from(above < 1e-6);
        if above > worst.0 {
            worst = (above, seed);
        }
    }
    let mean = total / CASES as f64;
    println!(
        "{exact} of {CASES} exact, {:.3} % above on average, {:.2} % at most (seed {})",
        mean * 100.0,
        worst.0 * 100.0,
        worst.1
    );
    assert!(mean < 0.01, "{mean}, the worst is seed {}", worst.1);
}
