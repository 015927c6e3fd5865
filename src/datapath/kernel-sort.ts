/**
 * Sorts in place as the kernel's sort() of Linux 6.12 does, which matters where elements are equal: their order shows,
 * for instance in how many masks a lookup tries (spec/tables T-005). It is heap sort with bottom-up sifting (Wegener,
 * 1993) that takes the two largest elements at a time.
 */
export function kernelSort<T>(list: T[], compare: (a: T, b: T) => number): void {
  let end = list.length;
  for (let root = end >> 1; root > 0; ) sift(list, --root, end, compare);
  while (end > 3) {
    swap(list, 0, --end);
    // The second largest is one of the root's children.
    const second = compare(list[1], list[2]) > 0 ? 1 : 2;
    swap(list, second, --end);
    sift(list, second, end, compare);
    sift(list, 0, end, compare);
  }
  if (end < 2) return;
  swap(list, 0, --end);
  if (end === 2 && compare(list[0], list[1]) > 0) swap(list, 0, 1);
}

/** Lets the element at `root` sink to where it belongs in the heap list[root … end). */
function sift<T>(list: T[], root: number, end: number, compare: (a: T, b: T) => number): void {
  // Down to a leaf by the larger children; of equal ones, the right.
  let at = root;
  let right = 2 * at + 2;
  for (; right < end; right = 2 * at + 2) at = compare(list[right - 1], list[right]) > 0 ? right - 1 : right;
  if (right === end) at = right - 1;
  // Up again to an element that is larger than the one that sinks.
  while (at !== root && compare(list[root], list[at]) >= 0) at = (at - 1) >> 1;
  // What lies between moves up by one.
  let moved = list[root];
  for (; at !== root; at = (at - 1) >> 1) {
    const above = list[at];
    list[at] = moved;
    moved = above;
  }
  list[root] = moved;
}

function swap<T>(list: T[], a: number, b: number): void {
  const kept = list[a];
  list[a] = list[b];
  list[b] = kept;
}
