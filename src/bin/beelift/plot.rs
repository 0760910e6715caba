//! Times of programs and engines as a picture: a point with its quartiles, on a logarithmic axis.
#![forbid(unsafe_code)]

use std::path::Path;

use plotters::prelude::*;

use crate::failure::Failure;
use crate::statistics::Quartiles;

/// Pixels.
const HEIGHT: u32 = 480;
/// Pixels of a program.
const COLUMN: u32 = 140;
/// Pixels for axis and legend.
const MARGIN: u32 = 220;

/// A program with its times by engine.
pub(crate) struct Column<'a> {
    pub(crate) program: &'a str,
    pub(crate) engines: Vec<(String, Quartiles)>,
}

/// Writes an SVG.
pub(crate) fn write(path: &Path, columns: &[Column<'_>]) -> Result<(), Failure> {
    draw(path, columns).map_err(|error| Failure::failure(error).at(path.display()))
}

fn draw(path: &Path, columns: &[Column<'_>]) -> Result<(), Box<dyn std::error::Error>> {
    let times = || columns.iter().flat_map(|column| &column.engines).map(|(_, times)| *times);
    let low = times().map(|times| times.lower).fold(f64::MAX, f64::min).max(0.1) / 1.5;
    let high = times().map(|times| times.upper).fold(low, f64::max) * 1.5;
    let width = MARGIN + COLUMN * u32::try_from(columns.len())?;
    let root = SVGBackend::new(path, (width, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .set_label_area_size(LabelAreaPosition::Left, 70)
        .set_label_area_size(LabelAreaPosition::Bottom, 10)
        .build_cartesian_2d(0.0..columns.len() as f64, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_desc("ns a run (quartiles)")
        .y_label_formatter(&|value| format!("{value:.0}"))
        .draw()?;
    let mut engines: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flat_map(|column| &column.engines) {
        if !engines.contains(&name.as_str()) {
            engines.push(name);
        }
    }
    for (number, engine) in engines.iter().enumerate() {
        let colour = Palette99::pick(number).to_rgba();
        let across = (number + 1) as f64 / (engines.len() + 1) as f64;
        let points = columns.iter().enumerate().filter_map(|(index, column)| {
            let (_, times) = column.engines.iter().find(|(name, _)| name == engine)?;
            Some((index as f64 + across, *times))
        });
        let bars = points.clone().map(|(at, times)| {
            PathElement::new(vec![(at, times.lower.max(low)), (at, times.upper)], colour.stroke_width(3))
        });
        chart.draw_series(bars)?;
        let dots = points.map(|(at, times)| Circle::new((at, times.median), 4, colour.filled()));
        chart
            .draw_series(dots)?
            .label(*engine)
            .legend(move |(x, y)| Circle::new((x + 10, y), 4, colour.filled()));
    }
    let names = columns.iter().enumerate().map(|(index, column)| {
        Text::new(column.program.to_owned(), (index as f64 + 0.1, low * 1.1), ("sans-serif", 14))
    });
    chart.draw_series(names)?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    root.present()?;
    Ok(())
}
