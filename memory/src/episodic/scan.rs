//! Comparing many vectors with one: what recall spends its time on, so it uses the widest registers there are.

/// The sum of the products of two vectors. Products of bytes fit into 16 bits, and the compiler turns the
/// loop into multiply-and-add of whole registers, unless it has to look for overflow.
#[inline(always)]
fn product(a: &[i8], b: &[i8]) -> i32 {
    let (a, a_rest) = a.as_chunks::<64>();
    let (b, b_rest) = b.as_chunks::<64>();
    let mut sum = 0i32;
    for (a, b) in a.iter().zip(b) {
        sum = sum.wrapping_add(part(a, b));
    }
    sum.wrapping_add(part(a_rest, b_rest))
}

#[inline(always)]
fn part(a: &[i8], b: &[i8]) -> i32 {
    let mut sum = 0i32;
    for (a, b) in a.iter().zip(b) {
        sum = sum.wrapping_add(i32::from(i16::from(*a).wrapping_mul(i16::from(*b))));
    }
    sum
}

#[inline(always)]
fn all(query: &[i8], vectors: &[i8], each: &mut impl FnMut(i32)) {
    for vector in vectors.chunks_exact(query.len().max(1)) {
        each(product(query, vector));
    }
}

/// Calls `each` with the sum of products of `query` and each of the `vectors`, which are as long and follow
/// one another.
pub(super) fn dots(query: &[i8], vectors: &[i8], each: &mut impl FnMut(i32)) {
    #[cfg(target_arch = "x86_64")]
    if wide::run(query, vectors, each) {
        return;
    }
    all(query, vectors, each);
}

/// The sum of products of two vectors.
pub(super) fn dot(a: &[i8], b: &[i8]) -> i32 {
    let mut sum = 0;
    dots(a, b, &mut |product| sum = product);
    sum
}

/// The same loop, compiled for registers that not every processor has.
#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "calling code for a processor's own registers, after asking the processor whether it has them"
)]
mod wide {
    use std::arch::is_x86_feature_detected;

    /// Whether the processor has wider registers; then it is done.
    #[inline]
    pub(super) fn run(query: &[i8], vectors: &[i8], each: &mut impl FnMut(i32)) -> bool {
        if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
            // SAFETY: the processor has what the function is compiled for.
            unsafe { avx512(query, vectors, each) };
            return true;
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            unsafe { avx2(query, vectors, each) };
            return true;
        }
        false
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn avx512(query: &[i8], vectors: &[i8], each: &mut impl FnMut(i32)) {
        super::all(query, vectors, each);
    }

    #[target_feature(enable = "avx2")]
    fn avx2(query: &[i8], vectors: &[i8], each: &mut impl FnMut(i32)) {
        super::all(query, vectors, each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_summed_whole() {
        for length in [0usize, 1, 31, 32, 63, 64, 65, 200, 256, 384] {
            let a: Vec<i8> = (0..length).map(|n| (n * 37 % 255) as i8).collect();
            let b: Vec<i8> = (0..length).map(|n| (n * 101 % 251) as i8).collect();
            let plain: i32 = a
                .iter()
                .zip(&b)
                .map(|(a, b)| i32::from(*a) * i32::from(*b))
                .sum();
            assert_eq!(dot(&a, &b), plain, "{length}");
        }
        let largest = vec![-128i8; 256];
        assert_eq!(dot(&largest, &largest), 256 * 128 * 128);
    }

    #[test]
    fn each_vector_is_compared_in_order() {
        let vectors: Vec<i8> = (0..12).collect();
        let mut sums = Vec::new();
        dots(&[1, 0, 2], &vectors, &mut |sum| sums.push(sum));
        assert_eq!(sums, [4, 13, 22, 31]);
    }
}
