//! What reading a digit is without its host: from a picture's bytes to the model's input, and from logits to
//! probabilities.
//!
//! Stands beside `main.rs`, which speaks HTTP and `wasi:nn`; split so that its tests run natively. The steps, in
//! order: [`decode`] the picture to gray, separate [`ink`] from paper, drop [`strokes`] that are specks, bring the
//! rest onto the model's [`grid`]. `models/digits/preprocess.py` does the same for training; all arithmetic is on
//! integers, so the two agree to the last bit.

pub mod decode;
mod error;
mod exif;
pub mod grid;
pub mod ink;
pub mod strokes;

pub use error::PictureError;

/// A picture in the model's form.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The model's input, FP32 `[1, 8, 8]`: how many of 4 x 4 cells have ink, 0 to 16.
    pub image: [f32; 64],
    /// Where the digit was found: x, y, width, height in pixels of the upright picture.
    pub bounds: [usize; 4],
}

/// Brings the one digit of a PNG or JPEG into the model's form.
///
/// # Errors
/// [`PictureError`] for what is no picture, is corrupt or too large, or shows no digit.
pub fn prepare(picture: &[u8]) -> Result<Prepared, PictureError> {
    let gray = decode::decode(picture)?;
    let strokes = strokes::without_specks(ink::runs(&gray)?);
    let bounds = strokes::bounds(&strokes).ok_or(PictureError::NoDigit("it has no strokes"))?;
    if bounds.width * bounds.height < 9 {
        return Err(PictureError::NoDigit("its strokes are smaller than 3 x 3 pixels"));
    }
    let image = grid::image(&strokes, bounds);
    Ok(Prepared { image, bounds: [bounds.left, bounds.top, bounds.width, bounds.height] })
}

/// Logits as probabilities that sum to 1.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_even_for_huge_logits() {
        let probabilities = softmax(&[1000.0, 999.0, -1000.0]);
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((probabilities[0] / probabilities[1] - 1f32.exp()).abs() < 1e-4);
        assert!(softmax(&[]).is_empty());
    }
}
