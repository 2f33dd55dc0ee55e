package expression

import (
	"maps"
	"slices"
	"strings"
)

func objects() map[string]function {
	return map[string]function{
		"createObject": {0, -1, createObject},
		"items":        {1, 1, items},
		"objectKeys":   {1, 1, objectKeys},
		"shallowMerge": {1, 1, shallowMerge},
		"tryGet":       {2, -1, tryGet},
	}
}

func createObject(a args) (any, error) {
	if len(a)%2 != 0 {
		return nil, invalid("the arguments must be pairs of name and value")
	}
	o := make(map[string]any, len(a)/2)
	for i := 0; i < len(a); i += 2 {
		name, err := a.text(i)
		if err != nil {
			return nil, err
		}
		o[name] = a[i+1]
	}
	return o, nil
}

func items(a args) (any, error) {
	o, err := a.object(0)
	list := make([]any, 0, len(o))
	for _, key := range slices.Sorted(maps.Keys(o)) {
		list = append(list, map[string]any{"key": key, "value": o[key]})
	}
	return list, err
}

func objectKeys(a args) (any, error) {
	o, err := a.object(0)
	list := make([]any, 0, len(o))
	for _, key := range slices.Sorted(maps.Keys(o)) {
		list = append(list, key)
	}
	return list, err
}

func shallowMerge(a args) (any, error) {
	list, err := a.array(0)
	if err != nil {
		return nil, err
	}
	merged := map[string]any{}
	for i := range list {
		o, err := args(list).object(i)
		if err != nil {
			return nil, err
		}
		maps.Copy(merged, o)
	}
	return merged, nil
}

// tryGet gives a member or element within others, or null.
func tryGet(a args) (any, error) {
	v := a[0]
	for _, name := range a[1:] {
		if v == nil {
			return nil, nil
		}
		next, err := Index(v, name)
		if err != nil {
			return nil, nil //nolint:nilerr // what it is for
		}
		v = next
	}
	return v, nil
}

// unionObjects merges objects; of members that several have the last counts, and
// members that are objects are merged too.
func unionObjects(a args) (any, error) {
	merged := map[string]any{}
	for i := range a {
		o, err := a.object(i)
		if err != nil {
			return nil, err
		}
		merged = mergeObjects(merged, o)
	}
	return merged, nil
}

func mergeObjects(into, from map[string]any) map[string]any {
	merged, spelled := maps.Clone(into), map[string]string{}
	for name := range into {
		spelled[strings.ToLower(name)] = name
	}
	for key, v := range from {
		if name, ok := spelled[strings.ToLower(key)]; ok {
			key = name
		}
		was, isObject := merged[key].(map[string]any)
		if now, ok := v.(map[string]any); ok && isObject {
			v = mergeObjects(was, now)
		}
		merged[key] = v
	}
	return merged
}

func intersectObjects(a args) (any, error) {
	common, err := a.object(0)
	for i := 1; i < len(a) && err == nil; i++ {
		var o map[string]any
		o, err = a.object(i)
		kept := map[string]any{}
		for key, v := range common {
			if other, ok := o[key]; ok && Equal(v, other) {
				kept[key] = v
			}
		}
		common = kept
	}
	return common, err
}
