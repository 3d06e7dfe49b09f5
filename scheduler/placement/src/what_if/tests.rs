//! Questions are read as they are written, and change the input as they say.

use super::*;
use crate::input::{Demand, PlaceRate, Pop};

fn input() -> Input {
    let pop = |id: &str, region: &str| Pop {
        id: id.into(),
        place: "frankfurt".into(),
        region: region.into(),
        failure_domain: id.into(),
        state: PopState::Active,
        devices: Vec::new(),
    };
    let demand = |model: &str, rates: &[f64]| Demand {
        model: model.into(),
        rates: rates.iter().map(|&requests_per_s| PlaceRate { place: "frankfurt".into(), requests_per_s }).collect(),
    };
    let model = |key: &str| crate::ModelSpec {
        key: key.into(),
        memory: crate::Memory::default(),
        costs: Vec::new(),
        accelerator: crate::Accelerator::NotNeeded,
        replicas: crate::Replicas::default(),
        residency: None,
        policy_regions: None,
        policy_classes: None,
        value: 1.0,
    };
    Input {
        pops: vec![pop("fra1", "eu"), pop("fra2", "eu"), pop("nyc1", "us")],
        models: vec![model("m:1"), model("idle:1")],
        demand: vec![demand("m:1", &[2.0])],
        ..Input::default()
    }
}

fn after(question: &str) -> Result<Input, WhatIfError> {
    let mut input = input();
    WhatIf::parse(question)?.apply(&mut input)?;
    Ok(input)
}

fn ids(input: &Input) -> Vec<&str> {
    input.pops.iter().map(|pop| pop.id.as_str()).collect()
}

#[test]
fn pops_are_lost_one_by_one_by_region_and_by_failure_domain() {
    assert_eq!(ids(&after("lose pop fra2").unwrap()), ["fra1", "nyc1"]);
    assert_eq!(ids(&after("lose region eu").unwrap()), ["nyc1"]);
    assert_eq!(ids(&after(" lose  domain nyc1 ").unwrap()), ["fra1", "fra2"]);
}

#[test]
fn a_pop_is_added_in_the_likeness_of_another_in_a_failure_domain_of_its_own() {
    let input = after("add pop fra9 like fra2").unwrap();
    let (old, new) = (&input.pops[1], &input.pops[3]);
    assert_eq!((new.id.as_str(), new.failure_domain.as_str()), ("fra9", "fra9"));
    assert_eq!((&new.place, &new.region), (&old.place, &old.region));
}

#[test]
fn states_and_demand_change_where_the_question_says() {
    assert_eq!(after("drain pop fra1").unwrap().pops[0].state, PopState::Draining);
    assert_eq!(after("cordon pop fra1").unwrap().pops[0].state, PopState::Cordoned);
    assert_eq!(after("scale m:1 by 3").unwrap().demand[0].rates[0].requests_per_s, 6.0);
}

#[test]
fn what_is_not_there_is_named() {
    let text = |question| after(question).unwrap_err().to_string();
    assert_eq!(text("lose pop fra7"), "there is no PoP called fra7");
    assert_eq!(text("lose region mars"), "there is no PoP in a region called mars");
    assert_eq!(text("scale m:2 by 3"), "there is no model called m:2");
    assert_eq!(text("scale idle:1 by 3"), "nobody asks for idle:1: there is no demand to scale");
    assert_eq!(text("add pop fra1 like fra2"), "there is a PoP called fra1 already");
}

#[test]
fn unreadable_questions_say_what_can_be_asked() {
    assert!(after("loose pop fra2").unwrap_err().to_string().contains("`lose pop P`"));
    for factor in ["x", "-1", "0", "inf", "NaN"] {
        let question = format!("scale m:1 by {factor}");
        assert_eq!(WhatIf::parse(&question), Err(WhatIfError::Factor(factor.to_owned())));
    }
}
