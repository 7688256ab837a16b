// The program of the threads of cpu-bound.mjs.
export function countPrimes(below) {
  let count = 0;
  for (let n = 2; n < below; n++) {
    if (isPrime(n)) count++;
  }
  return count;
}

function isPrime(n) {
  for (let divisor = 2; divisor * divisor <= n; divisor++) {
    if (n % divisor === 0) return false;
  }
  return true;
}
