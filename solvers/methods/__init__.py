"""The methods, one small file each (or one per family): drop a file here and the registry has it."""
