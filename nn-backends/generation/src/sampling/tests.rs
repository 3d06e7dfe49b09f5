//! Sampling against what the definitions say, on small vocabularies.

use proptest::prelude::*;

use super::*;

fn sampler(parameters: SamplingParameters) -> Sampler {
    Sampler::new(parameters, &[], 1)
}

/// How often each token is drawn.
fn drawn(parameters: SamplingParameters, logits: &[f32]) -> Vec<usize> {
    let mut counts = vec![0; logits.len()];
    for seed in 0..4_000 {
        let mut sampler = sampler(SamplingParameters { seed: Some(seed), ..parameters.clone() });
        counts[sampler.choose(&mut logits.to_vec(), None).unwrap().token as usize] += 1;
    }
    counts
}

const WARM: SamplingParameters = SamplingParameters {
    temperature: 1.0,
    top_p: 1.0,
    top_k: 0,
    min_p: 0.0,
    repetition_penalty: 1.0,
    presence_penalty: 0.0,
    frequency_penalty: 0.0,
    logit_bias: std::collections::BTreeMap::new(),
    seed: None,
    logprobs: None,
};

/// Likelihoods 0.5, 0.25, 0.125, 0.125.
const LOGITS: [f32; 4] = [0.0, -std::f32::consts::LN_2, -2.0 * std::f32::consts::LN_2, -2.0 * std::f32::consts::LN_2];

#[test]
fn the_likeliest_is_taken_and_the_first_of_equals() {
    let mut greedy = sampler(SamplingParameters::default());
    assert_eq!(greedy.choose(&mut [1.0, 3.0, 3.0, f32::NAN], None).unwrap().token, 1);
    assert_eq!(greedy.choose(&mut [f32::NEG_INFINITY, -1e30], None).unwrap().token, 1);
    assert_eq!(greedy.choose(&mut [f32::NAN; 3], None), Err(NoNumbers));
    assert_eq!(sampler(WARM).choose(&mut [f32::NAN; 3], None), Err(NoNumbers));
}

#[test]
fn tokens_are_drawn_as_often_as_they_are_likely() {
    let near = |counts: Vec<usize>, expected: [f64; 4]| {
        for (count, expected) in counts.iter().zip(expected) {
            assert!((*count as f64 / 4_000.0 - expected).abs() < 0.03, "{counts:?}, not {expected:?}");
        }
    };
    near(drawn(WARM, &LOGITS), [0.5, 0.25, 0.125, 0.125]);
    near(
        drawn(SamplingParameters { temperature: 0.5, ..WARM }, &LOGITS),
        [16.0 / 22.0, 4.0 / 22.0, 1.0 / 22.0, 1.0 / 22.0],
    );
    near(drawn(SamplingParameters { top_k: 2, ..WARM }, &LOGITS), [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]);
    near(drawn(SamplingParameters { top_p: 0.7, ..WARM }, &LOGITS), [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]);
    near(drawn(SamplingParameters { min_p: 0.4, ..WARM }, &LOGITS), [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]);
    near(drawn(SamplingParameters { top_p: 1e-6, ..WARM }, &LOGITS), [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn bias_and_penalties_change_what_is_likely() {
    let bias = [(0, -100.0), (2, 5.0)].into();
    let mut biased = sampler(SamplingParameters { logit_bias: bias, ..SamplingParameters::default() });
    assert_eq!(biased.choose(&mut [9.0, 1.0, 2.0], None).unwrap().token, 2);
    // Each choice makes itself less likely: by presence once, by frequency each time.
    let present = SamplingParameters { presence_penalty: 1.0, ..SamplingParameters::default() };
    let mut present = sampler(present);
    let tokens = |sampler: &mut Sampler| [(); 4].map(|()| sampler.choose(&mut [2.0, 1.5], None).unwrap().token);
    assert_eq!(tokens(&mut present), [0, 1, 0, 0]);
    let mut frequent = sampler(SamplingParameters { frequency_penalty: 0.4, ..SamplingParameters::default() });
    assert_eq!(tokens(&mut frequent), [0, 0, 1, 0]);
    // The prompt's tokens are repeated as well.
    let repeated = SamplingParameters { repetition_penalty: 2.0, ..SamplingParameters::default() };
    assert_eq!(Sampler::new(repeated.clone(), &[0], 1).choose(&mut [2.0, 1.5], None).unwrap().token, 1);
    assert_eq!(Sampler::new(repeated, &[0], 1).choose(&mut [-1.0, -1.5], None).unwrap().token, 1);
}

#[test]
fn logprobs_are_those_of_the_model() {
    let parameters =
        SamplingParameters { logprobs: Some(2), logit_bias: [(3, 100.0)].into(), ..SamplingParameters::default() };
    let chosen = sampler(parameters).choose(&mut LOGITS.to_vec(), None).unwrap();
    let logprobs = chosen.logprobs.unwrap();
    assert_eq!(chosen.token, 3);
    let close = |a: f32, b: f32| assert!((a - b.ln()).abs() < 1e-6, "{a} {b}");
    close(logprobs.chosen, 0.125);
    assert_eq!(logprobs.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [0, 1]);
    close(logprobs.top[0].1, 0.5);
    close(logprobs.top[1].1, 0.25);
}

#[test]
fn only_what_is_allowed_is_chosen_whatever_makes_the_rest_likelier() {
    let mut allowed = TokenSet::default();
    [1, 3].into_iter().for_each(|token| allowed.insert(token));
    let biased = SamplingParameters { logit_bias: [(0, 100.0)].into(), ..SamplingParameters::default() };
    assert_eq!(sampler(biased.clone()).choose(&mut LOGITS.to_vec(), Some(&allowed)).unwrap().token, 1);
    for seed in 0..200 {
        let parameters = SamplingParameters { temperature: 2.0, seed: Some(seed), logprobs: Some(1), ..biased.clone() };
        let chosen = sampler(parameters).choose(&mut LOGITS.to_vec(), Some(&allowed)).unwrap();
        assert!(allowed.contains(chosen.token));
        // The model's own likelihoods, which know of no form.
        assert_eq!(chosen.logprobs.unwrap().top[0].0, 0);
    }
    assert_eq!(sampler(WARM).choose(&mut LOGITS.to_vec(), Some(&TokenSet::default())), Err(NoNumbers));
}

#[test]
fn parameters_out_of_bounds_are_named() {
    let default = SamplingParameters::default;
    for (parameters, expected) in [
        (SamplingParameters { temperature: -1.0, ..default() }, "`temperature` is -1; it is between 0 and 2"),
        (SamplingParameters { temperature: f32::NAN, ..default() }, "`temperature` is NaN"),
        (SamplingParameters { top_p: 0.0, ..default() }, "`top_p` is 0; it is more than 0"),
        (SamplingParameters { min_p: 1.5, ..default() }, "`min_p` is 1.5"),
        (SamplingParameters { frequency_penalty: 3.0, ..default() }, "`frequency_penalty` is 3"),
        (SamplingParameters { logit_bias: [(9, 1.0)].into(), ..default() }, "names token 9; the vocabulary has 8"),
        (SamplingParameters { logit_bias: [(1, f32::INFINITY)].into(), ..default() }, "`logit_bias` is inf"),
        (SamplingParameters { logprobs: Some(21), ..default() }, "`top_logprobs` is 21; 20 at most"),
    ] {
        let error = parameters.check(8).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(default().check(8), Ok(()));
}

proptest! {
    #[test]
    fn whatever_the_logits_the_token_is_one_of_those_allowed(
        logits in prop::collection::vec(prop_oneof![any::<f32>(), -5.0f32..5.0], 1..600),
        temperature in 0.0f32..2.0, top_k in 0u32..10, top_p in 0.01f32..1.0, min_p in 0.0f32..1.0, seed: u64
    ) {
        let parameters = SamplingParameters { temperature, top_k, top_p, min_p, seed: Some(seed), ..WARM };
        let once = sampler(parameters.clone()).choose(&mut logits.clone(), None);
        prop_assert_eq!(&once, &sampler(parameters).choose(&mut logits.clone(), None));
        if let Ok(Chosen { token, .. }) = once {
            let logit = logits[token as usize];
            prop_assert!(!logit.is_nan());
            let likelier = logits.iter().filter(|other| **other > logit).count();
            prop_assert!(top_k == 0 || likelier < top_k as usize);
            prop_assert!(temperature > 0.0 || likelier == 0);
        }
    }
}
