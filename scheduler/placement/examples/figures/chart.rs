//! Line charts on logarithmic axes, as SVG.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 50.0;

/// A chart.
pub struct Chart {
    pub title: String,
    pub x: String,
    pub y: String,
    pub series: Vec<Series>,
}

/// One of its lines.
pub struct Series {
    pub name: String,
    pub colour: &'static str,
    pub points: Vec<(f64, f64)>,
}

impl Chart {
    /// The chart as a document.
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (x_low, x_high) = span(points().map(|point| point.0), 1.15);
        let decade = |value: f64, up: bool| 10f64.powf(if up { value.log10().ceil() } else { value.log10().floor() });
        let (y_low, y_high) = span(points().map(|point| point.1), 1.0);
        let (y_low, y_high) = (decade(y_low, false), decade(y_high, true));
        let x = |value: f64| LEFT + (value / x_low).ln() / (x_high / x_low).ln() * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - (value / y_low).ln() / (y_high / y_low).ln() * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
        );
        text(&mut svg, LEFT, 22.0, "start", &format!("<tspan font-size=\"15\">{}</tspan>", self.title));
        let mut tick = y_low;
        while tick <= y_high * 1.001 {
            line(&mut svg, (LEFT, y(tick)), (WIDTH - RIGHT, y(tick)), "#e5e7eb");
            text(&mut svg, LEFT - 8.0, y(tick) + 4.0, "end", &number(tick));
            tick *= 10.0;
        }
        for &(value, _) in self.series.first().map_or(&[][..], |series| &series.points) {
            line(&mut svg, (x(value), HEIGHT - BOTTOM), (x(value), HEIGHT - BOTTOM + 5.0), "#6b7280");
            text(&mut svg, x(value), HEIGHT - BOTTOM + 18.0, "middle", &number(value));
        }
        text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0, "middle", &self.x);
        let turned = format!(
            "<text transform=\"translate(16 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
            HEIGHT / 2.0,
            self.y
        );
        svg.push_str(&turned);
        for (at, series) in self.series.iter().enumerate() {
            let path: Vec<String> =
                series.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
            let colour = series.colour;
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
            for point in &series.points {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>",
                    x(point.0),
                    y(point.1)
                );
                text(&mut svg, x(point.0), y(point.1) - 8.0, "middle", &number(point.1.round()));
            }
            let left = LEFT + at as f64 * 260.0;
            line(&mut svg, (left, 42.0), (left + 22.0, 42.0), colour);
            text(&mut svg, left + 28.0, 46.0, "start", &series.name);
        }
        svg + "</svg>\n"
    }
}

/// The least and the most, with a margin.
fn span(values: impl Iterator<Item = f64>, margin: f64) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    (low / margin, high * margin)
}

fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    if digits.len() > 3 { format!("{},{}", &digits[..digits.len() - 3], &digits[digits.len() - 3..]) } else { digits }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#111827\">{text}</text>");
}
