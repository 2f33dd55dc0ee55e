package route

import "strings"

// isGUID accepts the five forms of .NET: 32 digits; with dashes; those in braces
// or parentheses; and {0x…,0x…,0x…,{0x…,…}}.
func isGUID(v string) bool {
	v = strings.TrimSpace(v)
	if len(v) == 32 {
		return allHex(v)
	}
	if strings.HasPrefix(v, "{0x") || strings.HasPrefix(v, "{0X") {
		return isHexGUID(v)
	}
	if len(v) == 38 && (v[0] == '{' && v[37] == '}' || v[0] == '(' && v[37] == ')') {
		v = v[1:37]
	}
	return len(v) == 36 && v[8] == '-' && v[13] == '-' && v[18] == '-' && v[23] == '-' &&
		allHex(v[:8]+v[9:13]+v[14:18]+v[19:23]+v[24:])
}

func isHexGUID(v string) bool {
	head, tail, ok := strings.Cut(v[1:], ",{")
	tail, closed := strings.CutSuffix(tail, "}}")
	return ok && closed && hexNumbers(head, 8, 4, 4) && hexNumbers(tail, 2, 2, 2, 2, 2, 2, 2, 2)
}

// hexNumbers checks comma-separated 0x numbers of at most the given widths.
func hexNumbers(s string, widths ...int) bool {
	numbers := strings.Split(s, ",")
	if len(numbers) != len(widths) {
		return false
	}
	for i, n := range numbers {
		n = strings.ToLower(strings.TrimSpace(n))
		digits, ok := strings.CutPrefix(n, "0x")
		if !ok || digits == "" || len(digits) > widths[i] || !allHex(digits) {
			return false
		}
	}
	return true
}

func allHex(s string) bool { return strings.Trim(s, "0123456789abcdefABCDEF") == "" }
