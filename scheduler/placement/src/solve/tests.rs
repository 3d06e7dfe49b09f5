//! Small fleets whose best plan a person can see.

use crate::*;

const GIB: u64 = 1 << 30;

fn place(id: &str, region: &str, latitude_deg: f64, longitude_deg: f64) -> Place {
    Place { id: id.into(), location: Some(Location { latitude_deg, longitude_deg }), region: region.into() }
}

fn pop(id: &str, place: &str, region: &str, devices: &[(&str, u64)]) -> Pop {
    let device = |&(class, gib): &(&str, u64)| PopDevice {
        class: class.into(),
        memory_bytes: gib * GIB,
        price_per_gib: if class == "cpu" { 0.5 } else { 2.0 },
    };
    Pop {
        id: id.into(),
        place: place.into(),
        region: region.into(),
        failure_domain: id.into(),
        state: PopState::Active,
        devices: devices.iter().map(device).collect(),
    }
}

fn model(key: &str, gib: u64) -> ModelSpec {
    let cost =
        |class: &str, per_request_us| DeviceCost { class: class.into(), fixed_us: 500.0, per_request_us, batch: 8 };
    ModelSpec {
        key: key.into(),
        memory: Memory { cpu_bytes: Some(gib * GIB), gpu_bytes: Some(gib * GIB) },
        costs: vec![cost("cpu", 9_500.0), cost("gpu", 500.0)],
        accelerator: Accelerator::NotNeeded,
        replicas: Replicas::default(),
        residency: None,
        policy_regions: None,
        policy_classes: None,
        value: 1.0,
    }
}

fn demand(model: &str, rates: &[(&str, f64)]) -> Demand {
    let rate = |&(place, requests_per_s): &(&str, f64)| PlaceRate { place: place.into(), requests_per_s };
    Demand { model: model.into(), rates: rates.iter().map(rate).collect() }
}

/// Frankfurt with two PoPs, one of them with a GPU, and New York with one.
fn fleet() -> Input {
    let class = |name: &str, kind| DeviceClass { name: name.into(), kind, speed: 1.0 };
    Input {
        places: vec![place("frankfurt", "eu", 50.1, 8.7), place("newyork", "us", 40.7, -74.0)],
        device_classes: vec![class("cpu", DeviceKind::Cpu), class("gpu", DeviceKind::Gpu)],
        pops: vec![
            pop("fra1", "frankfurt", "eu", &[("cpu", 16)]),
            pop("fra2", "frankfurt", "eu", &[("cpu", 16), ("gpu", 12)]),
            pop("nyc1", "newyork", "us", &[("cpu", 16)]),
        ],
        models: vec![model("m:1", 2)],
        demand: vec![demand("m:1", &[("frankfurt", 20.0), ("newyork", 5.0)])],
        ..Input::default()
    }
}

fn solved(input: &Input, previous: Option<&Plan>) -> (Plan, Report) {
    let (plan, report) = solve(input, previous).unwrap();
    check(input, previous, &plan).unwrap();
    (plan, report)
}

fn held(plan: &Plan) -> Vec<String> {
    plan.replicas().map(|loaded| format!("{} {}.{}", loaded.model, loaded.pop, loaded.device.0)).collect()
}

fn told(report: &Report) -> Vec<String> {
    report.unplaced.iter().map(ToString::to_string).collect()
}

#[test]
fn a_model_goes_where_its_requests_come_from() {
    let (plan, report) = solved(&fleet(), None);
    assert_eq!(held(&plan), ["m:1 fra2.1", "m:1 nyc1.0"]);
    let targets: Vec<_> =
        plan.models[0].targets(&"newyork".into()).map(|(to, share)| (to.pop.as_str(), share)).collect();
    assert_eq!(targets, [("nyc1", 1.0), ("fra2", 0.0)]);
    assert_eq!(report.moves.loads.len(), 2);
    assert!(told(&report).is_empty());
}

#[test]
fn residency_keeps_a_model_in_its_region() {
    let mut input = fleet();
    input.models[0].residency = Some(vec!["us".into()]);
    assert_eq!(held(&solved(&input, None).0), ["m:1 nyc1.0"]);
}

#[test]
fn a_required_accelerator_without_memory_left_says_what_is_needed_and_what_is_free() {
    let mut input = fleet();
    input.models[0] =
        ModelSpec { accelerator: Accelerator::Required, residency: Some(vec!["eu".into()]), ..model("m:1", 9) };
    input.models.push(ModelSpec {
        accelerator: Accelerator::Required,
        residency: Some(vec!["eu".into()]),
        ..model("m:2", 8)
    });
    let (plan, report) = solved(&input, None);
    assert_eq!(held(&plan), ["m:1 fra2.1"]);
    assert_eq!(
        told(&report),
        [
            "m:2 needs 8 GiB on a GPU in eu; the largest free is 3 GiB on fra2 (missing: 1 of its replicas, 1 of its failure domains)"
        ]
    );
}

#[test]
fn what_can_never_be_placed_says_why() {
    let mut input = fleet();
    let required = |key, gib| ModelSpec { accelerator: Accelerator::Required, ..model(key, gib) };
    input.models = vec![
        required("large", 18),
        ModelSpec { residency: Some(vec!["us".into()]), ..required("far", 1) },
        ModelSpec { residency: Some(vec!["mars".into()]), ..model("lost", 1) },
        ModelSpec { residency: Some(vec!["us".into()]), policy_regions: Some(vec!["eu".into()]), ..model("torn", 1) },
        ModelSpec {
            replicas: Replicas { min: 3, domains_min: 3, ..Replicas::default() },
            residency: Some(vec!["eu".into()]),
            ..model("wide", 1)
        },
    ];
    input.demand.clear();
    let (_, report) = solved(&input, None);
    let mut told = told(&report);
    told.sort();
    let missing = |domains| format!("(missing: {domains} of its replicas, {domains} of its failure domains)");
    assert_eq!(told[0], format!("far needs a GPU in us that can run it; no usable PoP has one {}", missing(1)));
    assert_eq!(told[1], format!("large needs 18 GiB on a GPU; the largest has 12 GiB on fra2 {}", missing(1)));
    assert_eq!(told[2], format!("lost is allowed only in mars, where no PoP is {}", missing(1)));
    assert_eq!(
        told[3],
        format!("torn is allowed in no region: its residency and the policy share none {}", missing(1))
    );
    assert_eq!(told[4], "wide finds devices in 2 failure domains only (missing: 1 of its failure domains)");
}

#[test]
fn requests_beyond_all_capacity_go_unserved_and_are_counted() {
    let mut input = fleet();
    // A GPU takes 562.5 us a request, 0.7 of a second of them; the CPUs 9,562.5.
    input.demand = vec![demand("m:1", &[("frankfurt", 2_000.0)])];
    let (plan, report) = solved(&input, None);
    assert_eq!(held(&plan).len(), 4);
    let capacity = 0.7e6 / 562.5 + 3.0 * 0.7e6 / 9_562.5;
    assert!((report.unplaced[0].requests_per_s - (2_000.0 - capacity)).abs() < 1e-6, "{report}");
    assert!(told(&report)[0].starts_with("m:1 finds all devices that have it, or room for it, as busy as they may be"));
}

#[test]
fn a_draining_pop_gives_up_what_it_has_and_a_cordoned_one_keeps_it() {
    let mut input = fleet();
    input.models[0].residency = Some(vec!["us".into()]);
    input.pops.push(pop("nyc2", "newyork", "us", &[("cpu", 16)]));
    let before = solved(&input, None).0;
    assert_eq!(held(&before), ["m:1 nyc1.0"]);
    input.pops[2].state = PopState::Cordoned;
    assert_eq!(held(&solved(&input, Some(&before)).0), ["m:1 nyc1.0"]);
    assert_eq!(held(&solved(&input, None).0), ["m:1 nyc2.0"]);
    input.pops[2].state = PopState::Draining;
    assert_eq!(held(&solved(&input, Some(&before)).0), ["m:1 nyc2.0"]);
}

fn excluded(model: &str, pops: &[&str]) -> Vec<Excluded> {
    pops.iter().map(|&pop| Excluded { model: model.into(), pop: pop.into() }).collect()
}

#[test]
fn a_model_leaves_a_pop_it_is_excluded_from_and_comes_back_when_it_no_longer_is() {
    let mut input = fleet();
    let (before, free) = solved(&input, None);
    assert_eq!(held(&before), ["m:1 fra2.1", "m:1 nyc1.0"]);
    input.excluded = excluded("m:1", &["fra2", "gone"]);
    let (after, report) = solved(&input, Some(&before));
    assert_eq!(held(&after), ["m:1 fra1.0", "m:1 nyc1.0"]);
    assert_eq!(report.moves.unloads.len(), 1);
    assert!(matches!(check(&input, None, &before), Err(Violation::Forbidden { .. })));
    let text = explain(&input, &after, &report, &"m:1".into()).unwrap().to_string();
    assert!(text.contains("exclusions\n  not at fra2: excluded\nroutes"), "{text}");
    input.excluded.clear();
    let (back, report) = solved(&input, Some(&after));
    assert!(held(&back).contains(&"m:1 fra2.1".to_owned()));
    assert!(report.lower_bound <= free.cost.total(), "{} > {}", report.lower_bound, free.cost.total());
}

#[test]
fn a_model_excluded_from_all_that_could_hold_it_says_so() {
    let mut input = fleet();
    input.models[0] = ModelSpec { accelerator: Accelerator::Required, ..model("m:1", 2) };
    input.excluded = excluded("m:1", &["fra2"]);
    let (plan, report) = solved(&input, None);
    assert!(held(&plan).is_empty());
    assert!(told(&report)[0].starts_with("m:1 is excluded from every PoP that could run it: fra2"), "{report}");
}

#[test]
fn a_budget_lets_only_so_much_be_loaded() {
    let mut input = fleet();
    input.churn.loads_max = Some(1);
    let (plan, report) = solved(&input, None);
    assert_eq!((held(&plan).len(), report.moves.loads.len()), (1, 1));
    input.churn.load_bytes_max = Some(GIB);
    let (plan, report) = solved(&input, None);
    assert!(held(&plan).is_empty());
    assert!(told(&report)[0].starts_with("m:1 waits: this plan may not load more"), "{report}");
}

#[test]
fn a_model_that_may_scale_to_zero_does_so_without_demand() {
    let mut input = fleet();
    input.demand.clear();
    assert_eq!(held(&solved(&input, None).0).len(), 1);
    input.models[0].replicas.scale_to_zero = true;
    assert!(held(&solved(&input, None).0).is_empty());
}

#[test]
fn inputs_that_contradict_themselves_are_refused_with_the_reason() {
    let refused = |change: &dyn Fn(&mut Input)| {
        let mut input = fleet();
        change(&mut input);
        solve(&input, None).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&|input| input.pops[1].id = "fra1".into()),
        "two PoPs are called fra1; give each a name of its own"
    );
    assert_eq!(
        refused(&|input| input.pops[0].place = "atlantis".into()),
        "PoP fra1 names the place atlantis, which is not listed"
    );
    assert_eq!(
        refused(&|input| input.demand[0].model = "m:9".into()),
        "there is demand for m:9, which is not among the models"
    );
    assert_eq!(
        refused(&|input| input.demand[0].rates[0].requests_per_s = f64::NAN),
        "the demand for m:1 is NaN; it has to be a finite number, 0 or above"
    );
}

#[test]
fn plans_and_reports_survive_json() {
    let input = fleet();
    let (plan, report) = solved(&input, None);
    assert_eq!(serde_json::from_str::<Input>(&serde_json::to_string(&input).unwrap()).unwrap(), input);
    // Fractions may lose their last bit on the way, which no check may stumble over.
    let read: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    check(&input, None, &read).unwrap();
    assert_eq!(held(&read), held(&plan));
    let read: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(read.to_string(), report.to_string());
}

#[test]
fn a_model_is_explained_in_sentences() {
    let mut input = fleet();
    input.models[0].replicas = Replicas { min: 2, domains_min: 2, ..Replicas::default() };
    input.models[0].residency = Some(vec!["eu".into()]);
    let (plan, report) = solved(&input, None);
    let text = explain(&input, &plan, &report, &"m:1".into()).unwrap().to_string();
    assert_eq!(
        text,
        "m:1: 2 replicas for 25 requests/s from 2 places, 24.0 ms each by its value
  2 GiB on a CPU; 2 GiB on a GPU; at least 2 replicas; 2 failure domains; its residency allows eu
replicas
  fra2 (gpu), 25 requests/s: without it, requests mostly from frankfurt would wait 487.5 ms more each second
  fra1 (cpu), 0 requests/s: its smallest number of failure domains asks for it
routes
  frankfurt, 20 requests/s: to fra2 100 %, then fra1
  newyork, 5.00 requests/s: to fra2 100 %, then fra1
"
    );
    assert_eq!(explain(&input, &plan, &report, &"m:9".into()), None);
}

#[test]
fn a_model_that_is_nowhere_is_told_from_one_that_cannot_be_placed() {
    let mut input = fleet();
    input.demand.clear();
    input.models[0].replicas = Replicas { min: 0, domains_min: 0, scale_to_zero: true, ..Replicas::default() };
    let told = |input: &Input| {
        let (plan, report) = solved(input, None);
        explain(input, &plan, &report, &"m:1".into()).unwrap().to_string()
    };
    assert!(
        told(&input).ends_with("missing\n  nothing: nobody asks for it, and it asks for no replica\n"),
        "{}",
        told(&input)
    );
    input.models[0].replicas = Replicas::default();
    input.models[0].residency = Some(vec!["atlantis".into()]);
    let text = told(&input);
    assert!(text.contains("m:1 is allowed only in atlantis, where no PoP is") && !text.contains("nothing:"), "{text}");
}

#[test]
fn a_report_reads_as_text() {
    let mut input = fleet();
    input.models.push(ModelSpec { accelerator: Accelerator::Required, ..model("large", 18) });
    let (_, report) = solved(&input, None);
    assert_eq!(
        report.to_string(),
        "objective 20208.7, no plan is below 20208.7: within 0.00 %
  network 50.0, compute 151.7, fallback 0.0, holding 5.0, loading 2.0, shortfall 20000.0
2 to load (4 GiB), 0 to unload
cpu: 3 devices, 2 GiB of 48 GiB filled, busy 2 % on average and 5 % at most
gpu: 1 devices, 2 GiB of 12 GiB filled, busy 1 % on average and 1 % at most
large needs 18 GiB on a GPU; the largest has 12 GiB on fra2 (missing: 1 of its replicas, 1 of its failure domains)
"
    );
}
