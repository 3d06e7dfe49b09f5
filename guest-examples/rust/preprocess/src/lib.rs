//! From a JPEG to the tensor that image classifiers trained on ImageNet take: decoded, brought to 224 by 224, normalised.
//!
//! The same crate runs in a guest, where it uses 128-bit vectors, and natively, where it uses what the processor has.
//! `benches/preprocess.rs` holds the two against each other.

use std::num::NonZero;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeError, ResizeOptions, Resizer};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

/// Pixels on each side of what the model sees.
pub const SIDE: usize = 224;
/// Colours: red, green, blue.
pub const CHANNELS: usize = 3;
/// The most pixels a picture may have on a side, checked before any are decoded.
pub const SIDE_MAX: usize = 4096;

/// ImageNet's mean of each colour, and its standard deviation, where white is 1.
const MEAN: [f32; CHANNELS] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; CHANNELS] = [0.229, 0.224, 0.225];

/// A picture that cannot be read.
#[derive(Debug)]
pub enum Error {
    /// It is no JPEG, or a broken one.
    Jpeg(DecodeErrors),
    /// It has more than [`SIDE_MAX`] pixels on a side.
    TooLarge,
    /// It has no pixels, or too few for its size.
    NoPicture,
}

/// A picture's pixels: red, green, blue, row after row.
pub struct Pixels {
    width: NonZero<u32>,
    height: NonZero<u32>,
    rgb: Vec<u8>,
}

/// The whole way: a tensor of shape `[1, 3, 224, 224]`.
///
/// # Errors
/// [`Error`] when the picture cannot be read.
pub fn tensor(jpeg: &[u8]) -> Result<Vec<f32>, Error> {
    Ok(normalise(&resize(&decode(jpeg)?)?))
}

/// A JPEG's pixels.
///
/// # Errors
/// [`Error`] when it is none, broken, or too large.
pub fn decode(jpeg: &[u8]) -> Result<Pixels, Error> {
    let options = DecoderOptions::new_fast()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(SIDE_MAX)
        .set_max_height(SIDE_MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    decoder.decode_headers().map_err(Error::Jpeg)?;
    let (width, height) = decoder.dimensions().ok_or(Error::NoPicture)?;
    if width.max(height) > SIDE_MAX {
        return Err(Error::TooLarge);
    }
    let side = |pixels: usize| u32::try_from(pixels).ok().and_then(NonZero::new).ok_or(Error::NoPicture);
    Ok(Pixels { width: side(width)?, height: side(height)?, rgb: decoder.decode().map_err(Error::Jpeg)? })
}

/// The middle of the picture, 224 by 224, in the same form.
///
/// # Errors
/// [`Error::NoPicture`] when there are fewer pixels than its size says.
pub fn resize(pixels: &Pixels) -> Result<Vec<u8>, Error> {
    let side = SIDE as u32;
    let source = ImageRef::new(pixels.width.get(), pixels.height.get(), &pixels.rgb, PixelType::U8x3);
    let mut target = Image::new(side, side, PixelType::U8x3);
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).fit_into_destination(None);
    let source = source.map_err(|_| Error::NoPicture)?;
    Resizer::new().resize(&source, &mut target, &options).map_err(|_: ResizeError| Error::NoPicture)?;
    Ok(target.into_vec())
}

/// Each colour a plane of its own, less its mean and over its deviation.
pub fn normalise(rgb: &[u8]) -> Vec<f32> {
    let mut planes = vec![0.0; rgb.len()];
    let plane = rgb.len() / CHANNELS;
    for (channel, plane) in planes.chunks_exact_mut(plane.max(1)).take(CHANNELS).enumerate() {
        let (scale, shift) = (1.0 / (255.0 * DEVIATION[channel]), MEAN[channel] / DEVIATION[channel]);
        for (value, pixel) in plane.iter_mut().zip(rgb.chunks_exact(CHANNELS)) {
            *value = f32::from(pixel[channel]) * scale - shift;
        }
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of one colour.
    fn jpeg(width: u16, height: u16, colour: [u8; 3]) -> Vec<u8> {
        let mut jpeg = Vec::new();
        let rgb = colour.repeat(usize::from(width) * usize::from(height));
        let encoder = jpeg_encoder::Encoder::new(&mut jpeg, 95);
        encoder.encode(&rgb, width, height, jpeg_encoder::ColorType::Rgb).unwrap();
        jpeg
    }

    #[test]
    fn a_picture_of_one_colour_is_three_planes_of_one_value() {
        let tensor = tensor(&jpeg(320, 200, [200, 100, 50])).unwrap();
        assert_eq!(tensor.len(), CHANNELS * SIDE * SIDE);
        for (channel, colour) in [200.0, 100.0, 50.0].into_iter().enumerate() {
            let expected = (colour / 255.0 - MEAN[channel]) / DEVIATION[channel];
            let plane = &tensor[channel * SIDE * SIDE..][..SIDE * SIDE];
            assert!(plane.iter().all(|value| (value - expected).abs() < 0.05), "{channel} {}", plane[0]);
        }
    }

    #[test]
    fn what_is_no_picture_is_an_error() {
        let whole = jpeg(32, 32, [1, 2, 3]);
        for broken in [&b""[..], b"GIF89a", &whole[..2], &whole[..40]] {
            assert!(tensor(broken).is_err());
        }
    }
}
