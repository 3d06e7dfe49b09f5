//! The pictures the model's training left for us: what this code makes of them must be what Python made of them.

use std::path::PathBuf;

use digits::prepare;

fn samples() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../models/digits/samples"))
}

fn picture(name: &str) -> Vec<u8> {
    std::fs::read(samples().join(name)).unwrap()
}

#[test]
fn every_png_sample_becomes_the_very_input_python_made_of_it() {
    let expected = std::fs::read(samples().join("expected.json")).unwrap();
    let expected: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&expected).unwrap();
    assert!(expected.len() >= 10);
    for (name, sample) in expected.iter().filter(|(name, _)| name.ends_with(".png")) {
        let rows = sample["image"].as_array().unwrap();
        let image: Vec<f64> =
            rows.iter().flat_map(|row| row.as_array().unwrap()).map(|v| v.as_f64().unwrap()).collect();
        let prepared = prepare(&picture(name)).unwrap();
        assert_eq!(prepared.image.map(f64::from).as_slice(), image, "{name}");
    }
}

#[test]
fn a_jpeg_of_the_same_picture_comes_out_nearly_alike() {
    let (png, jpeg) = (prepare(&picture("7.png")).unwrap(), prepare(&picture("7.jpg")).unwrap());
    let difference: f32 = png.image.iter().zip(&jpeg.image).map(|(a, b)| (a - b).abs()).sum();
    assert!(difference <= 20.0, "{difference}");
}

#[test]
fn a_cut_off_picture_is_corrupt_and_never_a_panic() {
    for name in ["7.png", "7.jpg"] {
        let whole = picture(name);
        for end in (1..whole.len() - 20).step_by(7) {
            assert!(prepare(&whole[..end]).is_err(), "{name} cut at {end} of {}", whole.len());
        }
    }
}

#[test]
fn a_damaged_picture_is_answered_and_never_a_panic() {
    for name in ["7.png", "7.jpg"] {
        let whole = picture(name);
        for at in 8..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            // Damage in the pixels of a JPEG may still decode; all that counts is that there is an answer.
            let _ = prepare(&damaged);
        }
    }
}

#[test]
fn what_is_wrong_with_a_picture_is_said() {
    let message = |picture: &[u8]| prepare(picture).unwrap_err().to_string();
    assert_eq!(message(b""), "the request has no body; send a PNG or JPEG");
    assert_eq!(message(b"GIF89a"), "the body is neither a PNG nor a JPEG");
    assert!(message(b"\x89PNG\r\n\x1a\nrubbish").starts_with("the PNG cannot be decoded: "));
    assert!(message(b"\xff\xd8\xff\xe0rubbish").starts_with("the JPEG cannot be decoded: "));
    assert_eq!(message(&png(5000, 10, 0)), "the picture has 5000 x 10 pixels; at most 4096 x 4096 are read");
    assert_eq!(message(&png(40, 40, 255)), "no digit found in the picture: it is blank");
}

/// A PNG of one gray.
fn png(width: u32, height: u32, gray: u8) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![gray; (width * height) as usize]).unwrap();
    writer.finish().unwrap();
    file
}
