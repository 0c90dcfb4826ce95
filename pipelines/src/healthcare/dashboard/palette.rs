//! The colours of data are told apart by who sees fewer of them, and stand out from what is behind them.

/// The style sheet that has them.
const CSS: &str = include_str!("web/app.css");
const SERIES: [&str; 4] = ["c0", "c1", "c2", "c3"];
/// What pictures are drawn on.
const BEHIND: [&str; 2] = ["card", "bg"];

/// A difference between two colours (CIE76) that is seen at a glance: the least that is seen at all is 2.3.
const APART: f64 = 10.0;
/// Of what is not text (WCAG 2.2, 1.4.11).
const CONTRAST: f64 = 3.0;

type Colour = [f64; 3];
type Matrix = [[f64; 3]; 3];

/// Who lacks a kind of cone altogether, in linear RGB (Machado, Oliveira and Fernandes 2009, severity 1).
const SIGHTS: [(&str, Matrix); 4] = [
    ("all", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    (
        "protanopia",
        [
            [0.152_286, 1.052_583, -0.204_868],
            [0.114_503, 0.786_281, 0.099_216],
            [-0.003_882, -0.048_116, 1.051_998],
        ],
    ),
    (
        "deuteranopia",
        [
            [0.367_322, 0.860_646, -0.227_968],
            [0.280_085, 0.672_501, 0.047_413],
            [-0.011_820, 0.042_940, 0.968_881],
        ],
    ),
    (
        "tritanopia",
        [
            [1.255_528, -0.076_749, -0.178_779],
            [-0.078_411, 0.930_809, 0.147_602],
            [0.004_733, 0.691_367, 0.303_900],
        ],
    ),
];

/// Linear sRGB to CIE XYZ, and what is white there (D65).
const XYZ: Matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]];
const WHITE: Colour = [0.9505, 1.0, 1.089];

/// A colour of the style sheet, in light and in dark.
fn themes(name: &str) -> [Colour; 2] {
    let start = format!("  --{name}: light-dark(");
    let values = CSS.lines().find_map(|line| line.strip_prefix(start.as_str())).unwrap();
    let (light, rest) = values.split_once(", ").unwrap();
    let (dark, _) = rest.split_once(')').unwrap();
    [light, dark].map(linear)
}

/// `#rrggbb` without the curve that screens have.
fn linear(hex: &str) -> Colour {
    assert!(hex.len() == 7 && hex.starts_with('#'), "{hex}");
    [1, 3, 5].map(|at| {
        let part = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
        if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    })
}

fn times(matrix: Matrix, colour: Colour) -> Colour {
    matrix.map(|row| row.iter().zip(colour).map(|(factor, part)| factor * part).sum::<f64>())
}

fn lab(colour: Colour) -> Colour {
    let xyz = times(XYZ, colour);
    let [x, y, z] = [0, 1, 2].map(|at| {
        let part = xyz[at] / WHITE[at];
        if part > 0.008_856 { part.cbrt() } else { part * 7.787 + 16.0 / 116.0 }
    });
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// How far apart two colours are to who sees like this.
fn difference(sight: Matrix, one: Colour, other: Colour) -> f64 {
    // A screen shows no more than all of a colour, and no less than nothing of it.
    let [one, other] =
        [one, other].map(|colour| lab(times(sight, colour).map(|part| part.clamp(0.0, 1.0))));
    one.iter().zip(other).map(|(one, other)| (one - other).powi(2)).sum::<f64>().sqrt()
}

fn contrast(one: Colour, other: Colour) -> f64 {
    let [one, other] = [one, other].map(|colour| times(XYZ, colour)[1] + 0.05);
    one.max(other) / one.min(other)
}

#[test]
fn who_sees_fewer_colours_tells_the_series_apart() {
    for (at, one) in SERIES.iter().enumerate() {
        for other in &SERIES[at + 1..] {
            for (theme, (a, b)) in themes(one).into_iter().zip(themes(other)).enumerate() {
                for (sight, matrix) in SIGHTS {
                    let apart = difference(matrix, a, b);
                    assert!(apart >= APART, "{one}, {other}, theme {theme}, {sight}: {apart:.1}");
                }
            }
        }
    }
}

#[test]
fn every_series_stands_out_from_what_is_behind_it() {
    for one in SERIES {
        for behind in BEHIND {
            for (theme, (a, b)) in themes(one).into_iter().zip(themes(behind)).enumerate() {
                let contrast = contrast(a, b);
                assert!(contrast >= CONTRAST, "{one} on {behind}, theme {theme}: {contrast:.2}");
            }
        }
    }
}

#[test]
fn colours_that_are_taken_for_each_other_are_found_out() {
    let [brown, olive] = ["#a05a00", "#5f7a00"].map(linear);
    let apart = SIGHTS.map(|(_, matrix)| difference(matrix, brown, olive));
    assert!(apart[0] > 40.0 && apart[3] > 40.0, "{apart:?}");
    assert!(apart[1] < APART && apart[2] < APART, "{apart:?}");
    assert!((contrast([0.0; 3], [1.0; 3]) - 21.0).abs() < 0.01);
}
