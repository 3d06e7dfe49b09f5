//! Rotary position embedding (Su et al., "RoFormer", 2021), and how it is stretched to longer contexts.

/// How positions turn queries and keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The angle that each pair of elements turns by a position.
    pub frequencies: Vec<f32>,
    /// What the turned elements are multiplied by.
    pub factor: f32,
    /// Which elements are a pair.
    pub pairing: Pairing,
}

/// Which elements of a head are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Those at the same place of both halves.
    Halves,
    /// Neighbours: GGUF files of the Llama family have their rows in this order.
    Neighbours,
}

/// How frequencies are stretched.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All by the same factor.
    Linear(f64),
    /// As Llama 3.1 does: low frequencies, high ones not, those between in part.
    Llama3 { factor: f64, low: f64, high: f64, original_context: f64 },
    /// A divisor for each frequency, and a factor of what is turned.
    Divisors { divisors: Vec<f32>, factor: f32 },
}

impl Rope {
    /// For heads of which `rotated` elements are turned.
    ///
    /// # Errors
    /// When there is not a divisor for each pair, or the base is no number to divide by.
    pub fn new(rotated: usize, base: f64, scaling: &Scaling, pairing: Pairing) -> Result<Self, String> {
        let whole_pairs = rotated > 0 && rotated.is_multiple_of(2);
        if !whole_pairs || !base.is_finite() || base <= 0.0 {
            return Err(format!("positions cannot turn {rotated} elements by powers of {base}"));
        }
        let pairs = rotated / 2;
        if let Scaling::Divisors { divisors, .. } = scaling
            && divisors.len() != pairs
        {
            return Err(format!("there are {} divisors of frequencies for {pairs} pairs of elements", divisors.len()));
        }
        let frequency = |pair: usize| {
            let frequency = base.powf(-((2 * pair) as f64) / rotated as f64);
            match scaling {
                Scaling::None => frequency,
                Scaling::Linear(factor) => frequency / factor,
                Scaling::Divisors { divisors, .. } => frequency / f64::from(divisors[pair]),
                &Scaling::Llama3 { factor, low, high, original_context } => {
                    let turns = original_context * frequency / std::f64::consts::TAU;
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - kept) * frequency / factor + kept * frequency
                }
            }
        };
        let factor = if let Scaling::Divisors { factor, .. } = scaling { *factor } else { 1.0 };
        let frequencies: Vec<f32> = (0..pairs).map(|pair| frequency(pair) as f32).collect();
        match frequencies.iter().all(|frequency| frequency.is_finite()) && factor.is_finite() {
            true => Ok(Rope { frequencies, factor, pairing }),
            false => Err("the scaling of its positions makes no numbers".to_owned()),
        }
    }

    /// Writes cosine and sine of each pair's angle at `position`.
    pub fn angles(&self, position: usize, cosines: &mut [f32], sines: &mut [f32]) {
        for ((frequency, cosine), sine) in self.frequencies.iter().zip(cosines).zip(sines) {
            let (sin, cos) = (position as f32 * frequency).sin_cos();
            (*cosine, *sine) = (cos * self.factor, sin * self.factor);
        }
    }

    /// Turns the head's first elements by these angles.
    pub fn turn(&self, head: &mut [f32], cosines: &[f32], sines: &[f32]) {
        let rotated = &mut head[..2 * self.frequencies.len()];
        let angles = cosines.iter().zip(sines);
        match self.pairing {
            Pairing::Halves => {
                let (first, second) = rotated.split_at_mut(self.frequencies.len());
                for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(angles) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
            Pairing::Neighbours => {
                let (pairs, _) = rotated.as_chunks_mut::<2>();
                for ([a, b], (cos, sin)) in pairs.iter_mut().zip(angles) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }
}
