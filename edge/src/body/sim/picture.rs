//! Pictures of a simulation: frames of pixels, as PNG files or as half blocks in a terminal.

use std::fmt::Write as _;

use super::{Scene, world::Point};

/// Pixels, row by row from the top.
pub struct Canvas {
    /// How many in a row.
    pub width: usize,
    /// How many rows.
    pub height: usize,
    pixels: Vec<[u8; 3]>,
    scale: f32,
}

type Color = [u8; 3];

const FLOOR: Color = [244, 242, 236];
const WALL: Color = [70, 74, 82];
const BEAM: Color = [198, 222, 240];
const CLIFF: Color = [40, 12, 12];
const SLOPE: Color = [224, 210, 180];
const PATH: Color = [232, 126, 4];
const ROBOT: Color = [20, 110, 190];
const PERSON: Color = [200, 40, 60];
const THING: Color = [130, 90, 150];

impl Canvas {
    /// Of a world of that size, with so many pixels to a metre.
    fn new([width_m, height_m]: Point, scale: f32) -> Self {
        let width = (width_m * scale).ceil().max(1.0) as usize;
        let height = (height_m * scale).ceil().max(1.0) as usize;
        Self {
            width,
            height,
            pixels: vec![FLOOR; width * height],
            scale,
        }
    }

    /// The colour of a pixel.
    pub fn at(&self, column: usize, row: usize) -> [u8; 3] {
        let inside = column < self.width && row < self.height;
        let place = inside.then_some(row * self.width + column);
        let pixel = place.and_then(|place| self.pixels.get(place));
        pixel.copied().unwrap_or(FLOOR)
    }

    /// Colours what `inside` says is, of a rectangle of the world.
    fn fill(&mut self, from: Point, to: Point, color: Color, inside: impl Fn(Point) -> bool) {
        let pixel =
            |value: f32, most: usize| (value * self.scale).max(0.0).min(most as f32) as usize;
        let columns = pixel(from[0], self.width)..pixel(to[0] + 1.0 / self.scale, self.width);
        let rows = pixel(from[1], self.height)..pixel(to[1] + 1.0 / self.scale, self.height);
        for row in rows {
            for column in columns.clone() {
                let x = (column as f32 + 0.5) / self.scale;
                let y = (row as f32 + 0.5) / self.scale;
                if inside([x, y]) {
                    // North is up.
                    let place = (self.height - 1 - row) * self.width + column;
                    if let Some(pixel) = self.pixels.get_mut(place) {
                        *pixel = color;
                    }
                }
            }
        }
    }

    fn disc(&mut self, [x, y]: Point, radius: f32, color: Color) {
        let radius = radius.max(0.6 / self.scale);
        self.fill(
            [x - radius, y - radius],
            [x + radius, y + radius],
            color,
            |[px, py]| (px - x).hypot(py - y) <= radius,
        );
    }

    fn line(&mut self, from: Point, to: Point, wide: f32, color: Color) {
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let steps = (dx.hypot(dy) * self.scale).ceil().max(1.0) as usize;
        for step in 0..=steps {
            let part = step as f32 / steps as f32;
            self.disc([from[0] + dx * part, from[1] + dy * part], wide, color);
        }
    }
}

/// What a scene looks like from above, with so many pixels to a metre.
pub fn frame(scene: &Scene, scale: f32) -> Canvas {
    let world = &scene.world;
    let mut canvas = Canvas::new(world.size_m, scale);
    let pose = scene.pose;
    let here = [pose.x_m, pose.y_m];
    for slope in &world.slopes {
        let area = &slope.area;
        canvas.fill(area.from, area.to, SLOPE, |point| area.has(point));
    }
    let scan = &scene.scan;
    for (index, range) in scan.ranges_m.iter().enumerate() {
        let angle = pose.heading_rad + scan.angle_min_rad + scan.angle_step_rad * index as f32;
        let reach = range.min(scan.range_max_m);
        let end = [here[0] + reach * angle.cos(), here[1] + reach * angle.sin()];
        canvas.line(here, end, 0.0, BEAM);
    }
    for cliff in &world.cliffs {
        canvas.fill(cliff.from, cliff.to, CLIFF, |point| cliff.has(point));
    }
    for wall in &world.walls {
        canvas.line(wall.from, wall.to, wall.thickness_m / 2.0, WALL);
    }
    for item in &world.boxes {
        let [x, y] = item.at;
        let [w, h] = item.size_m;
        let reach = w.hypot(h) / 2.0;
        let (sin, cos) = item.angle_deg.to_radians().sin_cos();
        canvas.fill(
            [x - reach, y - reach],
            [x + reach, y + reach],
            WALL,
            |[px, py]| {
                let (dx, dy) = (px - x, py - y);
                (dx * cos + dy * sin).abs() <= w / 2.0 && (dy * cos - dx * sin).abs() <= h / 2.0
            },
        );
    }
    let [width, height] = world.size_m;
    let corners = [
        [0.0, 0.0],
        [width, 0.0],
        [width, height],
        [0.0, height],
        [0.0, 0.0],
    ];
    for (from, to) in corners.iter().zip(corners.iter().skip(1)) {
        canvas.line(*from, *to, 0.04, WALL);
    }
    let trace = &scene.trace;
    for (from, to) in trace.iter().zip(trace.iter().skip(1)) {
        canvas.line(*from, *to, 0.03, PATH);
    }
    for (at, radius) in &scene.obstacles {
        canvas.disc(*at, *radius, THING);
    }
    for (_, at, radius) in &scene.people {
        canvas.disc(*at, *radius, PERSON);
    }
    let radius = world.robot.radius_m;
    canvas.disc(here, radius, ROBOT);
    let nose = [
        here[0] + radius * pose.heading_rad.cos(),
        here[1] + radius * pose.heading_rad.sin(),
    ];
    canvas.line(here, nose, 0.03, FLOOR);
    canvas
}

/// A frame as a PNG file.
///
/// # Errors
///
/// It has no pixels, or too many.
pub fn png(canvas: &Canvas) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut bytes, size(canvas.width), size(canvas.height));
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(canvas.pixels.as_flattened())?;
    writer.finish()?;
    Ok(bytes)
}

/// A frame for a terminal: two pixels to a character, in 24-bit colours.
pub fn terminal(canvas: &Canvas) -> String {
    let mut text = String::new();
    for row in (0..canvas.height).step_by(2) {
        for column in 0..canvas.width {
            let [r, g, b] = canvas.at(column, row);
            let [lr, lg, lb] = canvas.at(column, row + 1);
            // Writing to a string cannot fail.
            let _ = write!(text, "\x1b[38;2;{r};{g};{b};48;2;{lr};{lg};{lb}m▀");
        }
        text.push_str("\x1b[0m\n");
    }
    text
}
