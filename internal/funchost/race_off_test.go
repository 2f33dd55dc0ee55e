//go:build !race

package funchost

const raceEnabled = false
