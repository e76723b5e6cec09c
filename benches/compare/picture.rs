//! Pictures of results, as SVG: bars for peers, lines for curves.

use std::path::Path;

use plotters::prelude::*;

/// A line's or a bar's colour, by its place.
fn colour(place: usize) -> RGBColor {
    // Told apart by people who see colours differently too (Okabe and Ito).
    const COLOURS: [RGBColor; 8] = [
        RGBColor(0, 114, 178),
        RGBColor(213, 94, 0),
        RGBColor(0, 158, 115),
        RGBColor(204, 121, 167),
        RGBColor(230, 159, 0),
        RGBColor(86, 180, 233),
        RGBColor(110, 110, 110),
        RGBColor(0, 0, 0),
    ];
    COLOURS[place % COLOURS.len()]
}

const WIDTH: u32 = 860;
const BAR: u32 = 30;
const MARGIN: i32 = 12;
const TITLE: i32 = 18;
const LABEL: i32 = 13;

/// Horizontal bars, one a name, the first on top; the value stands at its end.
pub fn bars(path: &Path, title: &str, unit: &str, rows: &[(String, f64)]) -> Result<(), String> {
    let height = TITLE as u32 + 3 * MARGIN as u32 + BAR * rows.len() as u32;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error + '_>> {
        root.fill(&WHITE)?;
        root.draw(&Text::new(title.to_owned(), (MARGIN, MARGIN), ("sans-serif", TITLE)))?;
        let most = rows.iter().map(|row| row.1).fold(f64::MIN_POSITIVE, f64::max);
        let (left, room) = (250, f64::from(WIDTH) - 250.0 - 130.0);
        for (place, (name, value)) in rows.iter().enumerate() {
            let top = TITLE + 2 * MARGIN + place as i32 * BAR as i32;
            let right = left + (value / most * room) as i32;
            let ours = name.starts_with("fanwheel");
            let fill = if ours { colour(0) } else { RGBColor(170, 170, 170) };
            root.draw(&Rectangle::new(
                [(left, top), (right.max(left + 1), top + BAR as i32 - 8)],
                fill.filled(),
            ))?;
            root.draw(&Text::new(name.clone(), (MARGIN, top + 4), ("sans-serif", LABEL)))?;
            let words = format!("{} {unit}", crate::results::shown(*value));
            root.draw(&Text::new(words, (right + 6, top + 4), ("sans-serif", LABEL)))?;
        }
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| error.to_string())
}

/// A curve.
pub struct Curve {
    /// Its name.
    pub name: String,
    /// Its points, by x.
    pub points: Vec<(f64, f64)>,
}

/// Curves over a common axis.
pub fn curves(path: &Path, title: &str, x: &str, y: &str, curves: &[Curve]) -> Result<(), String> {
    let root = SVGBackend::new(path, (WIDTH, 420)).into_drawing_area();
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let (x_max, y_max) = points()
        .fold((1.0, f64::MIN_POSITIVE), |max: (f64, f64), point| (max.0.max(point.0), max.1.max(point.1)));
    let draw = || -> Result<(), Box<dyn std::error::Error + '_>> {
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", TITLE))
            .margin(MARGIN)
            .x_label_area_size(45)
            .y_label_area_size(75)
            .build_cartesian_2d(0.0..x_max * 1.03, 0.0..y_max * 1.1)?;
        chart
            .configure_mesh()
            .x_desc(x)
            .y_desc(y)
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", LABEL))
            .x_label_formatter(&|value| crate::results::shown(*value))
            .y_label_formatter(&|value| crate::results::shown(*value))
            .draw()?;
        for (place, curve) in curves.iter().enumerate() {
            let style = colour(place).stroke_width(2);
            chart
                .draw_series(LineSeries::new(curve.points.iter().copied(), style).point_size(3))?
                .label(curve.name.clone())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .label_font(("sans-serif", LABEL))
            .draw()?;
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| error.to_string())
}
