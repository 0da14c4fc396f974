//! Lines over two logarithmic axes, as an SVG that is readable on light and dark pages.

use std::fmt::Write;

const WIDTH: f64 = 790.0;
const HEIGHT: f64 = 440.0;
/// The field in which the lines lie; names stand to the right of it.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 660.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 392.0;
/// Between two names, at least.
const NAME_GAP: f64 = 16.0;

const STYLE: &str = "\
  <style>
    text { font: 13px system-ui, sans-serif; fill: #767676 }
    .title { font-size: 16px; font-weight: 600 }
    .grid { stroke: #8884; stroke-width: 1 }
    .line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
    @media (prefers-color-scheme: light) { text { fill: #333 } }
    @media (prefers-color-scheme: dark) { text { fill: #ddd } }
  </style>
";
/// Told apart by those who see few colours too, and on white as on black.
const COLORS: [&str; 6] = [
    "#cc79a7", "#d55e00", "#e69f00", "#0072b2", "#009e73", "#56b4e9",
];

/// A picture.
pub(super) struct Chart {
    pub(super) title: String,
    /// A line below the title: unit, and how the figures were taken.
    pub(super) note: String,
    pub(super) series: Vec<Series>,
}

/// One line: points from left to right, all greater than zero.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A logarithmic axis over whole powers of ten.
struct Axis {
    /// Powers of ten at its ends.
    low: i32,
    high: i32,
    /// Where these lie in the picture.
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let low = least.log10().floor() as i32;
        let high = (most.log10().ceil() as i32).max(low + 1);
        Self {
            low,
            high,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + (self.to - self.from) * part
    }

    fn marks(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low..=self.high).map(|power| 10_f64.powi(power))
    }
}

impl Chart {
    /// The picture as text.
    pub(super) fn render(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Axis::over(points().map(|point| point.0), LEFT, RIGHT);
        let y = Axis::over(points().map(|point| point.1), BOTTOM, TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-label=\"{0}\">\n{STYLE}  <text class=\"title\" x=\"{LEFT}\" \
             y=\"24\">{0}</text>\n  <text x=\"{LEFT}\" y=\"44\">{1}</text>\n",
            self.title, self.note
        );
        for mark in y.marks() {
            let at = y.at(mark);
            line(&mut svg, (LEFT, at), (RIGHT, at));
            text(&mut svg, "end", LEFT - 8.0, at + 4.0, &format!("{mark}"));
        }
        for mark in x.marks() {
            let at = x.at(mark);
            line(&mut svg, (at, TOP), (at, BOTTOM));
            text(&mut svg, "middle", at, BOTTOM + 20.0, &format!("{mark}"));
        }
        let middle = f64::midpoint(LEFT, RIGHT);
        text(
            &mut svg,
            "middle",
            middle,
            BOTTOM + 40.0,
            "idle connections",
        );
        self.lines(&mut svg, &x, &y);
        svg.push_str("</svg>\n");
        svg
    }

    /// The lines, each with its name at its end. Names that would cover each other move apart.
    fn lines(&self, svg: &mut String, x: &Axis, y: &Axis) {
        let mut names = Vec::new();
        for (series, color) in self.series.iter().zip(COLORS.iter().cycle()) {
            let places = series
                .points
                .iter()
                .map(|point| (x.at(point.0), y.at(point.1)));
            let places: Vec<(f64, f64)> = places.collect();
            let path: Vec<String> = places
                .iter()
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            let path = path.join(" ");
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "  <polyline class=\"line\" stroke=\"{color}\" points=\"{path}\"/>"
            );
            for (x, y) in &places {
                let _ = writeln!(
                    svg,
                    "  <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{color}\"/>"
                );
            }
            if let (Some(place), Some(point)) = (places.last(), series.points.last()) {
                names.push((place.1, place.0, format!("{} {:.1}", series.name, point.1)));
            }
        }
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut lowest = f64::MIN;
        for (y, x, name) in names {
            // A line that ends early has its name above its end, off the lines that go on.
            if x < RIGHT - 1.0 {
                text(svg, "end", x - 6.0, y - 10.0, &name);
                continue;
            }
            lowest = y.max(lowest + NAME_GAP);
            text(svg, "start", x + 10.0, lowest + 4.0, &name);
        }
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        "  <line class=\"grid\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, anchor: &str, x: f64, y: f64, words: &str) {
    let _ = writeln!(
        svg,
        "  <text text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_covers_its_values_with_whole_powers() {
        let axis = Axis::over([3.0, 40.0, 7_000.0].into_iter(), 0.0, 100.0);
        assert_eq!((axis.low, axis.high), (0, 4));
        assert_eq!(axis.at(1.0), 0.0);
        assert_eq!(axis.at(100.0), 50.0);
        assert_eq!(axis.marks().count(), 5);
    }

    #[test]
    fn each_series_is_drawn_and_named_and_names_keep_apart() {
        let series = |name: &str, y: f64| Series {
            name: name.into(),
            points: vec![(10.0, 2.0), (100.0, y)],
        };
        let chart = Chart {
            title: "T".into(),
            note: "N".into(),
            series: vec![series("one", 50.0), series("two", 50.5)],
        };
        let svg = chart.render();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 4);
        let at = |name: &str| -> f64 {
            let line = svg.lines().find(|line| line.contains(name)).unwrap();
            line.split(" y=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        };
        assert!((at(">one ") - at(">two ")).abs() >= NAME_GAP - 0.2);
    }
}
