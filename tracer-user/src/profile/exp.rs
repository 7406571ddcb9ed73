//! `math.Exp` of Go, for arguments up to 0, as each processor computes it: its last bits are other ones than
//! libm's, and with small objects and a large rate of sampling they show.
//!
//! In: an argument. Out: exp of it. The same in Go 1.19 to 1.27 (math/exp_amd64.s, exp_arm64.s).

/// Whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exp {
    /// Of a processor without fused multiplication and addition (FMA).
    Amd64,
    Amd64Fused,
    Arm64,
}

impl Exp {
    /// That of programs on this processor.
    #[cfg(not(target_arch = "aarch64"))]
    pub fn here() -> Self {
        #[cfg(target_arch = "x86_64")]
        if !std::arch::is_x86_feature_detected!("fma")
            || !std::arch::is_x86_feature_detected!("avx")
        {
            return Exp::Amd64;
        }
        Exp::Amd64Fused
    }

    #[cfg(target_arch = "aarch64")]
    pub fn here() -> Self {
        Exp::Arm64
    }

    /// As files say it.
    pub fn number(self) -> u8 {
        match self {
            Exp::Amd64 => 1,
            Exp::Amd64Fused => 2,
            Exp::Arm64 => 3,
        }
    }

    /// Which one a file says.
    pub fn numbered(number: u64) -> Option<Self> {
        let all = [Exp::Amd64, Exp::Amd64Fused, Exp::Arm64];
        all.into_iter().find(|exp| u64::from(exp.number()) == number)
    }

    pub fn of(self, x: f64) -> f64 {
        if x < -700.0 {
            // Nothing that 1 − exp(x) would show.
            return 0.0;
        }
        match self {
            Exp::Amd64 => amd64(x, |a, b, c| a * b + c),
            Exp::Amd64Fused => amd64(x, f64::mul_add),
            Exp::Arm64 => arm64(x),
        }
    }
}

/// After Shibata, "Efficient evaluation methods of elementary functions suitable for SIMD
/// computation" (ISC 2010): x is brought down to a sixteenth of what is left of it modulo ln 2, a
/// series gives exp − 1 of that, which is doubled four times.
fn amd64(x: f64, multiply_add: impl Fn(f64, f64, f64) -> f64) -> f64 {
    const LN2_UPPER: f64 = 0.693_147_180_559_663;
    const LN2_LOWER: f64 = 2.823_529_056_303_157_7e-13;
    const SERIES: [f64; 9] = [
        2.480_158_730_158_73e-5,
        0.000_198_412_698_412_698_4,
        0.001_388_888_888_888_889,
        0.008_333_333_333_333_333,
        0.041_666_666_666_666_664,
        0.166_666_666_666_666_66,
        0.5,
        1.0,
        2.0,
    ];
    let power = (x * std::f64::consts::LOG2_E).round_ties_even();
    let rest = multiply_add(-power, LN2_UPPER, x);
    let rest = multiply_add(-power, LN2_LOWER, rest) * 0.0625;
    let [first, series @ .., two] = SERIES;
    let sum = series.into_iter().fold(first, |sum, c| multiply_add(sum, rest, c));
    let mut less_one = rest * sum;
    for _ in 0..3 {
        less_one *= less_one + two;
    }
    let doubled = less_one + two;
    let whole = multiply_add(less_one, doubled, 1.0);
    whole * power_of_two(power)
}

/// After FreeBSD's e_exp.c: x is brought to what is left of it modulo ln 2, of which a rational function gives
/// exp. Multiplications and additions are fused where the assembly does.
fn arm64(x: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const SERIES: [f64; 5] = [
        4.138_136_797_057_238_5e-8,
        -1.653_390_220_546_525_2e-6,
        6.613_756_321_437_934e-5,
        -2.777_777_777_701_559_3e-3,
        1.666_666_666_666_666_6e-1,
    ];
    if x > -f64::from_bits(0x3e30_0000_0000_0000) {
        return 1.0 + x;
    }
    let power = std::f64::consts::LOG2_E.mul_add(x, -0.5).trunc();
    let high = (-power).mul_add(LN2_HIGH, x);
    let low = power * LN2_LOW;
    let rest = high - low;
    let square = rest * rest;
    let [first, others @ ..] = SERIES;
    let sum = others.into_iter().fold(first, |sum, c| square.mul_add(sum, c));
    let c = (-square).mul_add(sum, rest);
    let whole = 1.0 - ((low - rest * c / (2.0 - c)) - high);
    whole * power_of_two(power)
}

/// The power is −1010 at the least.
fn power_of_two(power: f64) -> f64 {
    f64::from_bits(((power as i64 + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exp() {
        for exp in [Exp::Amd64, Exp::Amd64Fused, Exp::Arm64] {
            for i in 0..7000 {
                let x = f64::from(i) * -0.1;
                let error = (exp.of(x) - x.exp()).abs() / x.exp().max(f64::MIN_POSITIVE);
                assert!(error < 1e-15 || x < -690.0, "exp of {x}: {error}");
            }
            assert_eq!(exp.of(0.0), 1.0);
        }
    }

    #[test]
    fn to_the_last_bit_as_go_on_arm64() {
        // What `math.Exp` of Go 1.26 gives there.
        let go: [(f64, u64); 10] = [
            (-1e-9, 0x3fefffffff768fa1),
            (-1.52587890625e-05, 0x3fefffe0000ffffb),
            (-0.1, 0x3fecf46d99d52b3a),
            (-0.34657359027997264, 0x3fe6a09e667f3bcc),
            (-0.35, 0x3fe68cce09671f71),
            (-1.0, 0x3fd78b56362cef38),
            (-3.3, 0x3fa2e259bb85be85),
            (-17.25, 0x3e614f49dbc5078c),
            (-100.125, 0x36e76d8e5c4fcb71),
            (-690.0, 0x01b745367beacec6),
        ];
        for (x, bits) in go {
            assert_eq!(Exp::Arm64.of(x).to_bits(), bits, "exp of {x}");
        }
    }

    #[test]
    fn files_say_which() {
        for exp in [Exp::Amd64, Exp::Amd64Fused, Exp::Arm64] {
            assert_eq!(Exp::numbered(exp.number().into()), Some(exp));
        }
        assert_eq!([Exp::numbered(0), Exp::numbered(4)], [None; 2]);
    }
}
