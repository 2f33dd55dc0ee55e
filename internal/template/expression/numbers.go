package expression

import (
	"math/big"
	"strconv"
	"strings"
)

func numbers() map[string]function {
	arithmetic := func(f func(z, x, y *big.Int) *big.Int, divides bool) function {
		return function{2, 2, func(a args) (any, error) { return calculate(a, f, divides) }}
	}
	return map[string]function{
		"add":   arithmetic((*big.Int).Add, false),
		"sub":   arithmetic((*big.Int).Sub, false),
		"mul":   arithmetic((*big.Int).Mul, false),
		"div":   arithmetic((*big.Int).Quo, true),
		"mod":   arithmetic((*big.Int).Rem, true),
		"int":   {1, 1, toInt},
		"float": {1, 1, toFloat},
		"min":   {1, -1, func(a args) (any, error) { return extreme(a, -1) }},
		"max":   {1, -1, func(a args) (any, error) { return extreme(a, 1) }},
		"range": {2, 2, numberRange},
	}
}

func calculate(a args, f func(z, x, y *big.Int) *big.Int, divides bool) (any, error) {
	x, err := a.int(0)
	if err != nil {
		return nil, err
	}
	y, err := a.int(1)
	if err != nil {
		return nil, err
	}
	if divides && y == 0 {
		return nil, invalid("it divides by zero")
	}
	z := f(new(big.Int), big.NewInt(x), big.NewInt(y))
	if !z.IsInt64() {
		return nil, invalid("the result does not fit into 64 bits")
	}
	return z.Int64(), nil
}

func toInt(a args) (any, error) {
	switch v := a[0].(type) {
	case string:
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
			return n, nil
		}
		return nil, invalid("argument 1 is no whole number")
	case float64:
		return int64(max(min(v, 9e18), -9e18)), nil
	}
	return a.int(0)
}

func toFloat(a args) (any, error) {
	if s, ok := a[0].(string); ok {
		if f, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil && f-f == 0 {
			return f, nil
		}
		return nil, invalid("argument 1 is no number")
	}
	return number(a[0])
}

// extreme gives the least (-1) or greatest (1) of numbers or of an array of them.
func extreme(a args, sign int) (any, error) {
	list := []any(a)
	if only, ok := a[0].([]any); ok && len(a) == 1 {
		list = only
	}
	if len(list) == 0 {
		return nil, invalid("the array is empty")
	}
	best := list[0]
	for _, v := range list {
		c, err := order(v, best)
		if err != nil {
			return nil, err
		}
		if c*sign > 0 {
			best = v
		}
	}
	return best, nil
}

const maxRange = 10_000 // elements of range()

func numberRange(a args) (any, error) {
	begin, err := a.int(0)
	if err != nil {
		return nil, err
	}
	count, err := a.int(1)
	if err != nil {
		return nil, err
	}
	if count < 0 || count > maxRange || begin > 1<<62 {
		return nil, invalid("the count must be from 0 to %d", maxRange)
	}
	list := make([]any, count)
	for i := range list {
		list[i] = begin + int64(i)
	}
	return list, nil
}
